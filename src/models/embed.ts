/** The residual stream that enters the first block. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { bytesOf, empty, windows } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { GpuBatch } from './batch.ts';

/**
 * y_t = wte[id_t] + wpe[position_t], from tables in float32 or float16.
 *
 * @param wte   [V, D]
 * @param wpe   [n_ctx, D]
 * @param batch T tokens with ids below V (rows of others are left unwritten) and positions below n_ctx
 * @returns     [T, D]
 * @throws ShapeError when the tables differ in width
 */
export function embed(s: Scope, wte: Tensor, wpe: Tensor, batch: GpuBatch): Tensor {
  const { tokens, ids, positions } = batch;
  const d = wte.cols;
  if (wpe.cols !== d) throw new ShapeError(`embed: wte has ${d} columns and wpe ${wpe.cols}.`);
  const y = empty(s, [tokens, d], 'embedding');
  const overrides = { WTE_F16: Number(wte.dtype === 'f16'), WPE_F16: Number(wpe.dtype === 'f16') };
  const grid = { threads: y.size, overrides, cost: { flops: y.size, bytes: 12 * y.size } };
  for (const [from, to] of windows(s.gpu, wte.rows, d * bytesOf(wte.dtype))) {
    const params = { tokens, d, first_row: from, rows: to - from };
    s.gpu.run('models/embed', { ids, positions, wte: wte.slice(from, to), wpe, y }, params, grid);
  }
  return y;
}
