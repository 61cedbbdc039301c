/** The residual stream that enters the first block. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, bytesOf, empty, halfCode, windows } from '../tensor/tensor.ts';
import type { GpuBatch } from './batch.ts';

/**
 * y_t = wte[id_t] + wpe[position_t], from tables in float32 or 16 bits.
 *
 * @param wte   [V, D]
 * @param wpe   [n_ctx, D]; absent where positions are not learned
 * @param batch T tokens with ids below V (rows of others are left unwritten) and positions below n_ctx
 * @returns     [T, D]
 * @throws ShapeError when the tables differ in width
 */
export function embed(s: Scope, wte: Tensor, wpe: Tensor | undefined, batch: GpuBatch): Tensor {
  const { tokens, ids, positions } = batch;
  const d = wte.cols;
  if (wpe && wpe.cols !== d) throw new ShapeError(`embed: wte has ${d} columns and wpe ${wpe.cols}.`);
  const y = empty(s, [tokens, d], 'embedding');
  const overrides = { WTE: halfCode(wte.dtype), WPE: wpe ? halfCode(wpe.dtype) : 3 };
  const grid = { threads: y.size, overrides, cost: { flops: y.size, bytes: 12 * y.size } };
  for (const [from, to] of windows(s.gpu, wte.rows, d * bytesOf(wte.dtype))) {
    const params = { tokens, d, first_row: from, rows: to - from };
    const window = wte.slice(from, to);
    s.gpu.run('models/embed', { ids, positions, wte: window, wpe: wpe ?? window, y }, params, grid);
  }
  return y;
}
