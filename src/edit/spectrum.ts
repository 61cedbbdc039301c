/** What the eigenvalues of C look like, without computing them. */
import type { Scope } from '../gpu/scope.ts';
import { empty, read } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { dot, norm } from '../statistics.ts';
import { BLOCK } from './panels.ts';
import type { Panels } from './panels.ts';
import { factorSolves, symmetricProduct } from './product.ts';

export interface Spectrum {
  /** Lower bound of the largest eigenvalue, close by. */
  readonly largest: number;
  /** Upper bound of the smallest eigenvalue of C + ρI less ρ, close by; 0 where it is not above the noise. */
  readonly smallest: number;
  /** largest / smallest; Infinity where the smallest cannot be told from 0. */
  readonly condition: number;
  readonly trace: number;
  /** trace² / |C|², between 1 and F: how many directions carry C. */
  readonly effectiveRank: number;
}

/** Steps of a power iteration, and the relative change that ends it. */
const MAX_STEPS = 30;
const CLOSE = 0.01;

/** Power iteration with C for the largest eigenvalue, with the factor's inverse for the smallest. */
export async function spectrum(s: Scope, c: Panels, factor: Factor): Promise<Spectrum> {
  const largest = await power(c.f, (x) => symmetricProduct(s, c, x));
  const inverse = await power(c.f, async (x) => (await factorSolves(s, factor, [x]))[0] as Float64Array);
  const left = 1 / inverse - factor.ridge;
  // Float32's factor cannot see eigenvalues below its own rounding errors.
  const smallest = left > largest * 2 ** -24 * 0.01 ? left : 0;
  const { trace, squares } = await moments(s, c);
  return { largest, smallest, condition: largest / smallest, trace, effectiveRank: trace ** 2 / squares };
}

/** The largest eigenvalue of a positive definite map: Rayleigh quotients until two agree to 1 %. */
async function power(f: number, map: (x: Float64Array) => Promise<Float64Array>): Promise<number> {
  // No random start is needed: a fixed one with no structure, so that runs repeat.
  let x: Float64Array = Float64Array.from({ length: f }, (_, i) => 1 + Math.sin(1 + 12.9898 * i * i));
  let value = 0;
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const length = norm(x);
    x = x.map((element) => element / length);
    const y = await map(x);
    const next = dot(x, y);
    x = y;
    if (step > 2 && Math.abs(next - value) <= CLOSE * Math.abs(next)) return next;
    value = next;
  }
  return value;
}

/** Trace and squared Frobenius norm: sums of panel blocks on the GPU, added in float64. */
async function moments(s: Scope, c: Panels): Promise<{ trace: number; squares: number }> {
  return s.gpu.scope(async (inner) => {
    let [trace, squares] = [0, 0];
    for (const { first, end, data } of c.pieces) {
      const blocks = data.rows / BLOCK;
      const sums = empty(inner, [blocks, 2], 'block_sums');
      s.gpu.run('edit/block_sums', { c: data, sums }, { blocks }, { groups: blocks });
      const parts = await read(s.gpu, sums);
      for (let p = first, block = 0; p < end; p += 1) {
        trace += parts[2 * block + 1] ?? NaN;
        squares += parts[2 * block] ?? NaN;
        const next = block + c.n - p;
        for (block += 1; block < next; block += 1) squares += 2 * (parts[2 * block] ?? NaN);
      }
    }
    return { trace, squares };
  });
}
