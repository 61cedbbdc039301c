/** The adapter's own best: what every other number is a part of. */
import type { Gpu } from '../../gpu/context.ts';
import { copyFamily } from './copy.ts';
import { SHAPES, STORAGES, matmulCase, productOf } from './matmul.ts';
import type { Shape } from './matmul.ts';
import { choose } from '../../gpu/rung.ts';
import { MATMUL } from '../../tensor/matmul-rungs.ts';
import { measure } from './measure.ts';
import type { Measured } from './measure.ts';

export interface Roof {
  /** flops a second, the best of the shapes with b stored as f32 [K, N] */
  readonly matmul: number;
  /** bytes a second, read and written, of what no cache holds: 64 MiB to 64 MiB */
  readonly copy: number;
}

/** ms for each case: long enough for what the cores can sustain. A machine that was idle runs faster for a moment. */
const BUDGET = 400;

/** Measures both: the chosen matmul rung at every shape, every way to copy. */
export async function measureRoof(gpu: Gpu, signal?: AbortSignal): Promise<Roof> {
  const options = { budget: BUDGET, ...(signal ? { signal } : {}) };
  const [storage] = STORAGES;
  const product = async (shape: Shape): Promise<number> => {
    if (!storage) return 0;
    const rung = choose(MATMUL, productOf(shape, storage), gpu.adapter);
    return best(await measure(gpu, matmulCase(shape, storage, rung), options), 'flops');
  };
  let [matmul, copy] = [0, 0];
  for (const shape of SHAPES.slice(0, 1)) await product(shape); // uncounted, to warm up
  for (const shape of SHAPES) matmul = Math.max(matmul, await product(shape));
  for (const c of copyFamily.cases(gpu).filter(({ shape }) => shape === '64 MiB'))
    copy = Math.max(copy, best(await measure(gpu, c, options), 'bytes'));
  return { matmul, copy };
}

/** The better of two measurements: what other programs took in the meantime is not the adapter's. */
export function higher(a: Roof, b: Roof): Roof {
  return { matmul: Math.max(a.matmul, b.matmul), copy: Math.max(a.copy, b.copy) };
}

/** flops or bytes a second of the median run. */
export function rate(m: Measured, of: 'flops' | 'bytes'): number {
  const ms = (m.timestamps ?? m.wall)?.median;
  return ms === undefined || ms === 0 ? NaN : m[of] / (ms / 1000);
}

function best(m: Measured, of: 'flops' | 'bytes'): number {
  const ms = (m.timestamps ?? m.wall)?.median;
  return ms ? m[of] / (ms / 1000) : 0;
}
