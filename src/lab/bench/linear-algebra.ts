/** Symmetric matrices in lower panels: S += KᵀK, C = L Lᵀ, and what one edit solves with it. */
import { panelSolver } from '../../edit/covariance-solver.ts';
import { CHOLESKY, factorise, type CholeskyRung } from '../../edit/cholesky.ts';
import { BLOCK, panelRow, panelWindow, readPanels, uploadPanels, zeroPanels } from '../../edit/panels.ts';
import type { Panels } from '../../edit/panels.ts';
import { symmetricProduct, triangularSolves } from '../../edit/product.ts';
import { SECOND_MOMENT, addOuterProducts, type SecondMomentRung } from '../../edit/second-moment.ts';
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';
import { drawInto } from '../../tensor/elementwise.ts';
import { empty, upload, type Tensor } from '../../tensor/tensor.ts';
import { numbers, prepared, shortName, type BenchCase, type Family } from './family.ts';

/** Row and column of element e of the packed panels of order f. */
function placeOf(e: number, f: number): readonly [i: number, j: number] {
  const n = Math.ceil(f / BLOCK);
  const row = Math.floor(e / BLOCK);
  let p = 0;
  while (panelRow(p + 1, n) <= row) p += 1;
  return [BLOCK * p + row - panelRow(p, n), BLOCK * p + (e % BLOCK)];
}

/**
 * Element (i, j) of a symmetric matrix of order f: 3 on the diagonal, elsewhere random on ±1/√f. Its eigenvalues lie
 * between 1.8 and 4.2.
 */
function element(i: number, j: number, f: number): number {
  if (i === j) return 3;
  const [low, high] = i < j ? [i, j] : [j, i];
  let h = Math.imul(low + 1, 0x9e3779b1) ^ Math.imul(high + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return Math.fround((h ^ (h >>> 15)) / 2 ** 31 / Math.sqrt(f));
}

/** Row i of that matrix times x. */
function rowTimes(i: number, x: ArrayLike<number>, f: number): number {
  let sum = 0;
  for (let j = 0; j < f; j += 1) sum += element(i, j, f) * (x[j] ?? NaN);
  return sum;
}

/** That matrix on the adapter; f is a multiple of 64. */
function positiveDefinite(s: Scope, f: number): Panels {
  const n = f / BLOCK;
  const data = new Float32Array(panelRow(n, n) * BLOCK);
  for (let p = 0, at = 0; p < n; p += 1)
    for (let i = BLOCK * p; i < f; i += 1)
      for (let j = 0; j < BLOCK; j += 1, at += 1) data[at] = element(i, BLOCK * p + j, f);
  return uploadPanels(s, data, f, 'positive_definite');
}

/** Keys that a synthetic C is made of: as many as one dispatch adds. */
const SYNTHETIC_KEYS = 256;

/**
 * C = I + KᵀK of 256 drawn keys of deviation 1, made and factored on the device: what C costs where there is no text. Its
 * condition is about F + 32 √F.
 */
export async function syntheticSolver(gpu: Gpu, f: number) {
  let [made, start] = [0, performance.now()];
  const solver = await panelSolver(gpu, { key: 'synthetic', tokens: SYNTHETIC_KEYS }, async (owner) => {
    const c = zeroPanels(owner, f, 'synthetic_covariance');
    for (let p = 0; p < c.n; p += 1) {
      const size = Math.min(BLOCK, f - BLOCK * p);
      const one = new Float32Array(BLOCK * BLOCK);
      for (let i = 0; i < size; i += 1) one[(BLOCK + 1) * i] = 1;
      gpu.write(panelWindow(c, p).slice(0, BLOCK), one);
    }
    await gpu.scope((s) => {
      const keys = empty(s, [SYNTHETIC_KEYS, f], 'synthetic_keys');
      drawInto(s, keys, 1, 1);
      addOuterProducts(s, c, keys);
    });
    await gpu.sync();
    [made, start] = [performance.now() - start, performance.now()];
    return c;
  });
  return { solver, makeMs: made, factorMs: performance.now() - start };
}

const multipleOf64 = ([f = 0]: readonly number[]): string | undefined =>
  f === 0 || f % BLOCK > 0 ? `a multiple of ${BLOCK}` : undefined;

function secondMomentCase(tokens: number, f: number, rung: SecondMomentRung): BenchCase {
  return {
    name: shortName(rung.kernel),
    shape: `${tokens},${f}`,
    kernels: [rung.kernel],
    flops: f * f * tokens,
    bytes: 4 * f * tokens + 4 * f * f,
    prepare: (s) => {
      const data = numbers(tokens * f, 1);
      const keys = upload(s, data, [tokens, f], 'keys');
      const sum = zeroPanels(s, f, 'sum');
      const run = (scope: Scope): void => addOuterProducts(scope, sum, keys, 0, tokens, rung);
      const want = (e: number): number => {
        const [i, j] = placeOf(e, f);
        if (i >= f || j >= f) return 0;
        let total = 0;
        for (let t = 0; t < tokens; t += 1) total += (data[t * f + i] ?? NaN) * (data[t * f + j] ?? NaN);
        return total;
      };
      return prepared(s, run, want, { reduce: tokens, scale: 1 }, () => readPanels(s.gpu, sum));
    },
  };
}

export const secondMomentFamily: Family = {
  name: 'second_moment',
  title: 'S += KᵀK; tokens, F',
  sizes: ['TOKENS', 'F'],
  // Tokens of a chunk, and F of GPT-2 small and XL.
  shapes: [
    [128, 3072],
    [512, 3072],
    [512, 6400],
  ],
  cases: ({ adapter }, [tokens = 1, f = 1]) => {
    const n = Math.ceil(f / BLOCK); // all panels in one dispatch
    const fitting = SECOND_MOMENT.filter((rung) => rung.fits({ f, n, first: 0, end: n }, adapter));
    return fitting.map((rung) => secondMomentCase(tokens, f, rung));
  },
};

function choleskyCase(f: number, rung: CholeskyRung): BenchCase {
  return {
    name: shortName(rung.kernel),
    shape: String(f),
    kernels: [rung.kernel, 'edit/cholesky_diagonal'],
    flops: f ** 3 / 3,
    bytes: 4 * f * f,
    prepare: (s) => {
      const c = positiveDefinite(s, f);
      const run = (scope: Scope) => factorise(scope, c, { rung });
      // The product of the factor, as if the adapter had multiplied it, against C itself.
      const want = (e: number, packed: ArrayLike<number>): number => {
        const at = (i: number, k: number): number => {
          const p = Math.floor(k / BLOCK);
          return packed[(panelRow(p, c.n) + i - BLOCK * p) * BLOCK + (k % BLOCK)] ?? NaN;
        };
        const [i, j] = placeOf(e, f);
        let sum = 0;
        for (let k = 0; k <= Math.min(i, j); k += 1) sum += at(i, k) * at(j, k);
        return (packed[e] ?? NaN) - (sum - element(i, j, f));
      };
      return prepared(s, run, want, { reduce: f, scale: 3 }, ({ l }) => readPanels(s.gpu, l));
    },
  };
}

/** On software adapters the rung of GPUs is for comparison, up to the third size. */
function worthwhile(rung: CholeskyRung, f: number, { adapter }: Gpu): boolean {
  if (!rung.fits({ n: f / BLOCK, q: 0, first: 0, end: 0 }, adapter)) return false;
  return rung.kernel.startsWith('software/') || f <= 3072 || adapter.kind === 'gpu';
}

export const choleskyFamily: Family = {
  name: 'cholesky',
  title: 'C = L Lᵀ with its read-backs; F',
  sizes: ['F'],
  expects: multipleOf64,
  // F of the bundled model, of GPT-2 small and of XL.
  shapes: [[256], [1024], [3072], [6400]],
  cases: (gpu, [f = 1]) =>
    CHOLESKY.filter((rung) => worthwhile(rung, f, gpu)).map((rung) => choleskyCase(f, rung)),
};

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
      const want = (i: number, x: ArrayLike<number>): number =>
        (x[i] ?? NaN) - (rowTimes(i, x, f) - (data[i] ?? NaN));
      return prepared(s, run, want, { reduce: f, scale: 3 });
    },
  };
}

function productCase(f: number): BenchCase {
  return {
    name: 'C·x',
    shape: String(f),
    kernels: ['edit/product_rows', 'edit/product_columns', 'edit/product_sum'],
    flops: 10 * f * f,
    bytes: 2 * f * f,
    prepare: (s) => {
      const c = positiveDefinite(s, f);
      const x = Float64Array.from(numbers(f, 2));
      const run = (scope: Scope): Promise<Float64Array> => symmetricProduct(scope, c, x);
      const want = (i: number): number => rowTimes(i, x, f);
      return prepared(s, run, want, { reduce: 1, scale: 0 }, async (y) => Float32Array.from(y));
    },
  };
}

export const solveFamily: Family = {
  name: 'solve',
  title: 'L Lᵀ x = b, and C x in two floats for its refinement; F',
  sizes: ['F'],
  expects: multipleOf64,
  shapes: [[3072], [6400]],
  cases: (_, [f = 1]) => [triangularCase(f), productCase(f)],
};
