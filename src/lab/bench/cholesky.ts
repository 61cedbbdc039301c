/** C + ρI = L Lᵀ, rung by rung, and what one edit solves with it. */
import { CHOLESKY, factorise } from '../../edit/cholesky.ts';
import type { CholeskyRung, Factor } from '../../edit/cholesky.ts';
import { BLOCK, panelRow } from '../../edit/panels.ts';
import { symmetricProduct, triangularSolves } from '../../edit/product.ts';
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';
import { read, upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';
import { element, placeOf, positiveDefinite } from './symmetric.ts';

/** F of the bundled model, of GPT-2 small and of XL. The definition is for comparison: the first two suffice. */
const SIZES = [256, 1024, 3072, 6400] as const;

function choleskyCase(f: number, rung: CholeskyRung): BenchCase {
  return {
    name: rung.kernel.replace(/^.*\//, ''),
    shape: String(f),
    kernels: rung.blocked ? [rung.kernel, 'edit/cholesky_diagonal'] : [rung.kernel],
    flops: f ** 3 / 3,
    bytes: 4 * f * f,
    prepare: (s) => {
      const c = positiveDefinite(s, f);
      const run = (scope: Scope): Promise<Factor> => factorise(scope, c, { rung });
      const check = async (): Promise<number> => {
        const { l } = await run(s);
        const packed = await read(s.gpu, l.data);
        const at = (i: number, k: number): number => {
          const p = Math.floor(k / BLOCK);
          return packed[(panelRow(p, l.n) + i - BLOCK * p) * BLOCK + (k % BLOCK)] ?? NaN;
        };
        // The product of the factor, as if the adapter had multiplied it, against C itself.
        const product = (e: number): number => {
          const [i, j] = placeOf(e, f);
          let sum = 0;
          for (let k = 0; k <= Math.min(i, j); k += 1) sum += at(i, k) * at(j, k);
          return sum - element(i, j, f);
        };
        return worstError(s.gpu, l.data, (e) => (packed[e] ?? NaN) - product(e), { reduce: f, scale: 3 });
      };
      return { run, check };
    },
  };
}

function usable({ adapter }: Gpu, rung: CholeskyRung, f: number): boolean {
  if (!rung.fits({ n: Math.ceil(f / BLOCK), q: 0, first: 0, end: 0 }, adapter)) return false;
  if (!rung.blocked) return f <= 1024;
  return rung.kernel.startsWith('software/') || f <= 3072 || adapter.kind === 'gpu';
}

export const choleskyFamily: Family = {
  name: 'cholesky',
  title: 'C = L Lᵀ with its read-backs; F',
  cases: (gpu) =>
    SIZES.flatMap((f) =>
      CHOLESKY.toReversed()
        .filter((rung) => usable(gpu, rung, f))
        .map((rung) => choleskyCase(f, rung)),
    ),
};

const VECTOR_SIZES = [3072, 6400] as const;

function triangularCase(f: number): BenchCase {
  return {
    name: 'triangular',
    shape: String(f),
    kernels: ['edit/triangular_solve_lower', 'edit/triangular_solve_upper'],
    flops: 2 * f * f,
    bytes: 4 * f * f,
    prepare: async (s) => {
      const factor = await factorise(s, positiveDefinite(s, f));
      const data = numbers(f, 1);
      const b = upload(s, data, [f], 'b');
      const run = (scope: Scope): Tensor => triangularSolves(scope, factor, b);
      const check = async (): Promise<number> => {
        const x = await read(s.gpu, run(s));
        const residual = (i: number): number =>
          x.reduce((sum, value, j) => sum + element(i, j, f) * value, 0) - (data[i] ?? NaN);
        const solution = upload(s, x, [f], 'x');
        return worstError(s.gpu, solution, (i) => (x[i] ?? NaN) - residual(i), { reduce: f, scale: 3 });
      };
      return { run, check };
    },
  };
}

function productCase(f: number): BenchCase {
  return {
    name: 'C·x',
    shape: String(f),
    kernels: ['edit/product_rows', 'edit/product_columns', 'edit/product_sum'],
    flops: 20 * ((f * f) / 2),
    bytes: 4 * ((f * f) / 2),
    prepare: (s) => {
      const c = positiveDefinite(s, f);
      const x = Float64Array.from(numbers(f, 2));
      const run = (scope: Scope): Promise<Float64Array> => symmetricProduct(scope, c, x);
      const check = async (): Promise<number> => {
        const got = upload(s, Float32Array.from(await run(s)), [f], 'product');
        const want = (i: number): number => x.reduce((sum, value, j) => sum + element(i, j, f) * value, 0);
        return worstError(s.gpu, got, want, { reduce: 1, scale: 0 });
      };
      return { run, check };
    },
  };
}

export const solveFamily: Family = {
  name: 'solve',
  title: 'L Lᵀ x = b, and C x in two floats for its refinement; F',
  cases: () => VECTOR_SIZES.flatMap((f) => [triangularCase(f), productCase(f)]),
};
