/** What the eigenvalues of C look like, without computing them, and how far a change of W reaches: by power iteration. */
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { dot, norm } from '../statistics.ts';
import { type Tensor, read } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { squares } from './frobenius.ts';
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

/** Power iteration with C for the largest eigenvalue, with the factor's inverse for the smallest. */
export async function spectrum(s: Scope, c: Panels, factor: Factor): Promise<Spectrum> {
  const largest = await power(c.f, (x) => symmetricProduct(s, c, x));
  const inverse = await power(c.f, async (x) => (await factorSolves(s, factor, [x]))[0] as Float64Array);
  const left = 1 / inverse - factor.ridge;
  // Float32's factor cannot see eigenvalues below its own rounding errors.
  const smallest = left > largest * 2 ** -24 * 0.01 ? left : 0;
  const trace = factor.meanDiagonal * c.f;
  const effectiveRank = trace ** 2 / (await squaredNorm(s, c));
  return { largest, smallest, condition: largest / smallest, trace, effectiveRank };
}

/** The largest eigenvalue of a positive definite map: Rayleigh quotients until two differ by less than a part of them. */
async function power(
  f: number,
  map: (x: Float64Array) => Promise<Float64Array> | Float64Array,
  { close, steps } = { close: 0.01, steps: 30 },
): Promise<number> {
  // No random start is needed: a fixed one with no structure, so that runs repeat.
  let x: Float64Array = Float64Array.from({ length: f }, (_, i) => 1 + Math.sin(1 + 12.9898 * i * i));
  let value = 0;
  for (let step = 0; step < steps; step += 1) {
    const length = norm(x);
    if (!(length > 0)) return length;
    x = x.map((element) => element / length);
    const y = await map(x);
    const next = dot(x, y);
    x = y;
    if (step > 2 && Math.abs(next - value) <= close * Math.abs(next)) return next;
    value = next;
  }
  return value;
}

/** The largest singular value of a − b, both f32: how far a key is moved at most. In float64 on the CPU. */
export async function spectralDifference(gpu: Gpu, a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = [await read(gpu, a), await read(gpu, b)];
  const change = Float64Array.from(x, (value, i) => value - (y[i] ?? NaN));
  const { rows, cols } = a;
  const square = await power(
    cols,
    (v) => {
      const next = new Float64Array(cols);
      for (let r = 0; r < rows; r += 1) {
        const row = change.subarray(r * cols, (r + 1) * cols);
        const along = dot(row, v);
        for (let c = 0; c < cols; c += 1) next[c] = (next[c] as number) + along * (row[c] as number);
      }
      return next;
    },
    { close: 2e-6, steps: 300 },
  );
  return Math.sqrt(square);
}

/** Squared Frobenius norm: sums of the panels' blocks, those below the diagonal twice. */
async function squaredNorm(s: Scope, c: Panels): Promise<number> {
  return s.gpu.scope(async (inner) => {
    let sum = 0;
    for (const { first, end, data } of c.pieces) {
      const blocks = await read(s.gpu, squares(inner, data));
      for (let p = first, block = 0; p < end; p += 1)
        for (let i = p; i < c.n; i += 1, block += 1) sum += (i === p ? 1 : 2) * (blocks[block] ?? NaN);
    }
    return sum;
  });
}
