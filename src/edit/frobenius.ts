/** How large a matrix is, the same bits every time. Frobenius: the GPU sums stretches, the few partial sums are added in float64. */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { bytesOf, empty, halfCode, read, windows } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

const STRETCH = 64 * 64; // WG · EACH of sum_squares.wgsl

/** |W| of a tensor [rows, cols], f32, f16 or bf16. One of 16 bits has an even number of columns. */
export async function frobenius(gpu: Gpu, w: Tensor): Promise<number> {
  return norm(gpu, w);
}

/**
 * |a − b| of two tensors of one shape and type, without their difference in memory.
 *
 * @throws ShapeError when they differ in shape or type
 */
export async function frobeniusDifference(gpu: Gpu, a: Tensor, b: Tensor): Promise<number> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join())
    throw new ShapeError(
      `frobeniusDifference: "${a.label}" ${a.dtype} [${a.shape.join(', ')}], "${b.label}" ${b.dtype} [${b.shape.join(', ')}].`,
    );
  return norm(gpu, a, b);
}

/** Power iteration ends when the norm changes by less than this part of itself, or after so many rounds. */
const STILL = 1e-6;
const MOST_ROUNDS = 300;

/**
 * The largest singular value of a − b, both f32: how far a key is moved at most. Power iteration on (a − b)ᵀ(a − b) in
 * float64, from a fixed vector.
 */
export async function spectralDifference(gpu: Gpu, a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = [await read(gpu, a), await read(gpu, b)];
  const [rows, cols] = [a.rows, a.cols];
  const change = Float64Array.from(x, (value, i) => value - (y[i] ?? NaN));
  let v = Float64Array.from({ length: cols }, (_, c) => 1 + Math.sin(c)); // no direction of W in particular
  let sigma = 0;
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const length = Math.sqrt(v.reduce((sum, t) => sum + t * t, 0));
    if (!(length > 0)) return length;
    const next = new Float64Array(cols);
    let squares = 0;
    for (let r = 0; r < rows; r += 1) {
      const row = change.subarray(r * cols, (r + 1) * cols);
      let along = 0;
      for (let c = 0; c < cols; c += 1) along += (row[c] as number) * (v[c] as number);
      along /= length;
      squares += along * along;
      for (let c = 0; c < cols; c += 1) next[c] = (next[c] as number) + along * (row[c] as number);
    }
    const found = Math.sqrt(squares);
    v = next;
    if (Math.abs(found - sigma) <= STILL * found) return found;
    sigma = found;
  }
  return sigma;
}

/** Adds up in float64 what the first stage leaves, window by window. */
async function norm(gpu: Gpu, a: Tensor, b?: Tensor): Promise<number> {
  const { rows, cols } = a;
  return gpu.scope(async (s) => {
    const sums = windows(gpu, rows, cols * bytesOf(a.dtype)).map(([from, to]) => {
      const window = (t: Tensor): Tensor => t.reshape(rows, cols).slice(from, to);
      return squares(s, window(a), b && window(b));
    });
    let total = 0;
    for (const parts of sums) for (const part of await read(gpu, parts)) total += part;
    return Math.sqrt(total);
  });
}

/** Sums of squares of a, or of a − b, over stretches of 4096 words; as many as one binding holds. */
export function squares(s: Scope, a: Tensor, b?: Tensor): Tensor {
  const n = a.bytes / 4;
  const parts = empty(s, [Math.ceil(n / STRETCH)], 'sums_of_squares');
  s.gpu.run(
    'edit/sum_squares',
    { a, b: b ?? a, parts },
    { n },
    {
      groups: parts.size,
      overrides: { HALF: halfCode(a.dtype), DIFFERENCE: b ? 1 : 0 },
      cost: { flops: 2 * n, bytes: 4 * n },
    },
  );
  return parts;
}
