/** Matrix products: every rung, at the shapes of GPT-2 small and XL, in both layouts and both storages of b. */
import type { Gpu } from '../../gpu/context.ts';
import { choose, nameOf } from '../../gpu/rung.ts';
import type { Scope } from '../../gpu/scope.ts';
import { narrow } from '../../tensor/elementwise.ts';
import { MATMUL, type MatmulRung, type Product } from '../../tensor/matmul-rungs.ts';
import { matmul } from '../../tensor/matmul.ts';
import { empty, upload, windows, type Tensor } from '../../tensor/tensor.ts';
import { halves, numbers, prepared, shortName } from './family.ts';
import type { BenchCase, Family, Prepared, Sizes } from './family.ts';
import { measureAll, rate } from './measure.ts';

export interface Storage {
  readonly transposeB: boolean;
  readonly dtype: 'f32' | 'f16';
}

export const STORAGES: readonly Storage[] = [
  { transposeB: false, dtype: 'f32' },
  { transposeB: true, dtype: 'f32' },
  { transposeB: false, dtype: 'f16' },
  { transposeB: true, dtype: 'f16' },
];

function productOf([m = 0, k = 0, n = 0]: Sizes, storage: Storage): Product {
  return { m, n, k, ...storage, aStride: k, aFirst: 0, strips: true, lasting: true };
}

/** The rung that the engine takes. */
export function chosenRung({ adapter }: Gpu, shape: Sizes, storage: Storage): MatmulRung {
  return choose(MATMUL, productOf(shape, storage), adapter);
}

/** a [m, k] · b; without a rung, whatever the engine takes. `16,1600,6400 ᵀ f16`: m, k, n, and how b is stored. */
export function productCase(
  shape: Sizes,
  storage: Storage,
  { rung, name = rung ? shortName(nameOf(rung)) : '' }: { rung?: MatmulRung; name?: string },
): BenchCase {
  const [m = 0, k = 0, n = 0] = shape;
  const { transposeB, dtype } = storage;
  return {
    name,
    shape: `${shape.join(',')}${transposeB ? ' ᵀ' : ''}${dtype === 'f16' ? ' f16' : ''}`,
    kernels: rung ? [rung.kernel] : [],
    flops: 2 * m * n * k,
    bytes: 4 * m * (k + n) + (dtype === 'f16' ? 2 : 4) * k * n,
    prepare: (s) => prepareProduct(s, shape, storage, rung),
  };
}

function prepareProduct(
  s: Scope,
  [m = 0, k = 0, n = 0]: Sizes,
  { transposeB, dtype }: Storage,
  rung: MatmulRung | undefined,
): Prepared {
  const a = numbers(m * k, 1);
  const b = dtype === 'f16' ? halves(k * n, 2) : numbers(k * n, 2);
  const ta = upload(s, a, [m, k], 'a');
  const wide = upload(s, b, transposeB ? [n, k] : [k, n], 'b');
  const tb = dtype === 'f16' ? narrowed(s, wide) : wide;
  const out = empty(s, [m, n], 'c');
  const [first, step] = transposeB ? [k, 1] : [1, n];
  const want = (e: number): number => {
    const [i, j] = [Math.floor(e / n), e % n];
    let sum = 0;
    for (let q = 0; q < k; q += 1) sum += (a[i * k + q] ?? NaN) * (b[j * first + q * step] ?? NaN);
    return sum;
  };
  const options = { transposeB, out, rung };
  return prepared(s, (scope) => matmul(scope, ta, tb, options), want, { reduce: k, scale: 1 });
}

function narrowed(s: Scope, wide: Tensor): Tensor {
  const half = empty(s, wide.shape, wide.label, 'f16');
  for (const [from, to] of windows(s.gpu, wide.rows, 4 * wide.cols))
    narrow(s, wide.slice(from, to), half.slice(from, to));
  return half;
}

export const matmulFamily: Family = {
  name: 'matmul',
  title: 'm,k,n: a [m, k] · b [k, n]; ᵀ: b stored [n, k]; f16: b stored as halves',
  sizes: ['M', 'K', 'N'],
  expects: (sizes) => (sizes.includes(0) ? 'numbers above 0' : undefined),
  // An MLP of GPT-2 small for a few rows and for many, one of XL, a step of generation, and a square.
  shapes: [
    [64, 768, 3072],
    [64, 3072, 768],
    [256, 768, 3072],
    [16, 1600, 6400],
    [16, 6400, 1600],
    [1024, 1024, 1024],
  ],
  cases: ({ adapter }, shape) =>
    STORAGES.flatMap((storage) =>
      MATMUL.filter((rung) => rung.fits(productOf(shape, storage), adapter)).map((rung) =>
        productCase(shape, storage, { rung }),
      ),
    ),
};

const ROWS = [1, 2, 4, 8, 16, 32, 64, 256, 1024] as const;
/** K and N of MLPs of GPT-2 small, in and out, and of attention in XL. */
const WIDTHS = [
  [768, 3072],
  [3072, 768],
  [1600, 4800],
] as const;
/** A rung that would take longer than this, at the rate it reached with fewer rows, is no candidate any more. */
const PATIENCE_MS = 400;

/** One storage and one M: its rungs, fastest first, and which one the engine takes. */
export interface ClassWinner extends Storage {
  readonly m: number;
  readonly rates: readonly {
    readonly kernel: string;
    /** flops a second, geometric mean over the widths; undefined: wrong */
    readonly rate: number | undefined;
  }[];
  readonly chosen: string;
  /** The chosen rung is within a hundredth of the fastest. */
  readonly agrees: boolean;
}

/** Which rung is fastest, by storage of b and by rows of a: what the ladder in `src/tensor/matmul-rungs.ts` must say. */
export async function* rungTable(
  gpu: Gpu,
  { ms = 60, signal, end = Infinity }: { ms?: number; signal?: AbortSignal; end?: number } = {},
): AsyncGenerator<ClassWinner, void, void> {
  for (const storage of STORAGES) {
    const reached = new Map<string, number>();
    for (const m of ROWS) {
      const first = [m, ...WIDTHS[0]];
      const rates: ClassWinner['rates'][number][] = [];
      for (const rung of MATMUL.filter((one) => one.fits(productOf(first, storage), gpu.adapter))) {
        if ((2 * m * 768 * 3072) / (reached.get(nameOf(rung)) ?? Infinity) > PATIENCE_MS / 1000) continue;
        if (performance.now() > end) return;
        const cases = WIDTHS.map((widths) => productCase([m, ...widths], storage, { rung }));
        let logs = 0;
        for await (const found of measureAll(gpu, cases, { ms, signal, end }))
          logs += Math.log(found ? rate(found, 'flops') : NaN);
        const mean = Math.exp(logs / cases.length);
        if (Number.isFinite(mean)) reached.set(nameOf(rung), mean);
        rates.push({ kernel: nameOf(rung), rate: Number.isFinite(mean) ? mean : undefined });
      }
      rates.sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0));
      const chosen = nameOf(chosenRung(gpu, first, storage));
      const chosenRate = rates.find(({ kernel }) => kernel === chosen)?.rate ?? 0;
      // Alone in its class, a rung too slow to be timed wins.
      const agrees = rates.length === 0 || chosenRate >= 0.99 * (rates[0]?.rate ?? 0);
      yield { ...storage, m, rates, chosen, agrees };
    }
  }
}
