/** Frobenius norms, the same bits every time: the GPU sums stretches, the few partial sums are added in float64. */
import type { Gpu } from '../gpu/context.ts';
import { empty, read, windows } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

const STRETCH = 64 * 64; // WG · EACH of sum_squares.wgsl

/** |W| of a tensor [rows, cols], f32 or f16. An f16 tensor has an even number of columns. */
export async function frobenius(gpu: Gpu, w: Tensor): Promise<number> {
  const half = w.dtype === 'f16';
  return gpu.scope(async (s) => {
    const sums: Tensor[] = [];
    for (const [from, to] of windows(gpu, w.rows, w.cols * (half ? 2 : 4))) {
      const n = ((to - from) * w.cols) / (half ? 2 : 1);
      const parts = empty(s, [Math.ceil(n / STRETCH)], 'sums_of_squares');
      const grid = {
        groups: fold(parts.size),
        overrides: { HALF: half ? 1 : 0 },
        cost: { flops: 2 * n, bytes: 4 * n },
      };
      gpu.run('edit/sum_squares', { x: w.reshape(w.rows, w.cols).slice(from, to), parts }, { n }, grid);
      sums.push(parts);
    }
    let total = 0;
    for (const parts of sums) for (const part of await read(gpu, parts)) total += part;
    return Math.sqrt(total);
  });
}

/** Workgroups in two dimensions where one takes too few. */
export function fold(groups: number): [number, number] {
  const x = Math.min(groups, 65_535);
  return [x, Math.ceil(groups / x)];
}
