/**
 * Which matmul rung is fastest, by storage of b and by rows of a: what `src/tensor/matmul-rungs.ts` must say.
 *
 * A class is one storage and one M. Every rung that fits is timed at the widths of GPT-2, and the class goes to the
 * highest geometric mean of their rates; a rung within a hundredth of it is as good.
 */
import type { Gpu } from '../../gpu/context.ts';
import { choose } from '../../gpu/rung.ts';
import { MATMUL } from '../../tensor/matmul-rungs.ts';
import { STORAGES, matmulCase, productOf, rungsFor } from './matmul.ts';
import type { Shape, Storage } from './matmul.ts';
import { measure } from './measure.ts';
import { rate } from './roof.ts';

const ROWS = [1, 2, 4, 8, 16, 32, 64, 256, 1024] as const;
/** K and N of MLPs of GPT-2 small, in and out, and of attention in XL. */
const WIDTHS = [
  [768, 3072],
  [3072, 768],
  [1600, 4800],
] as const;
/** A rung that would take longer than this, at the rate it reached with fewer rows, is no candidate any more. */
const PATIENCE_MS = 400;

export interface RungRate {
  readonly kernel: string;
  /** flops a second, geometric mean over the widths; undefined: too slow to be timed, or wrong */
  readonly rate: number | undefined;
}

export interface ClassWinner extends Storage {
  readonly m: number;
  /** Fastest first. */
  readonly rates: readonly RungRate[];
  /** The rung that the engine takes now, at the first of the widths. */
  readonly chosen: string;
  /** The chosen rung is within a hundredth of the fastest. */
  readonly agrees: boolean;
}

export async function* rungTable(
  gpu: Gpu,
  { budget = 60, signal }: { budget?: number; signal?: AbortSignal } = {},
): AsyncGenerator<ClassWinner, void, void> {
  for (const storage of STORAGES) {
    const reached = new Map<string, number>();
    for (const m of ROWS) {
      const shapes = WIDTHS.map(([k, n]): Shape => [m, k, n]);
      const [first] = shapes;
      if (!first) continue;
      const rates: RungRate[] = [];
      for (const rung of rungsFor(gpu, first, storage)) {
        const before = reached.get(rung.kernel) ?? Infinity;
        if ((2 * m * 768 * 3072) / before > PATIENCE_MS / 1000) continue;
        const logs: number[] = [];
        for (const shape of shapes) {
          signal?.throwIfAborted();
          const found = await measure(gpu, matmulCase(shape, storage, rung), { budget });
          logs.push(Math.log(rate(found, 'flops')));
        }
        const mean = Math.exp(logs.reduce((sum, x) => sum + x, 0) / logs.length);
        if (Number.isFinite(mean)) reached.set(rung.kernel, mean);
        rates.push({ kernel: rung.kernel, rate: Number.isFinite(mean) ? mean : undefined });
      }
      rates.sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0));
      const chosen = choose(MATMUL, productOf(first, storage), gpu.adapter).kernel;
      const chosenRate = rates.find(({ kernel }) => kernel === chosen)?.rate ?? 0;
      // Alone in its class, a rung too slow to be timed wins.
      const agrees = rates.length === 0 || chosenRate >= 0.99 * (rates[0]?.rate ?? 0);
      yield { ...storage, m, rates, chosen, agrees };
    }
  }
}
