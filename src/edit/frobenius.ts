/** |W|, Frobenius, the same bits every time: the GPU sums stretches, the few partial sums are added in float64. */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, bytesOf, empty, halfCode, read, windows } from '../tensor/tensor.ts';

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
