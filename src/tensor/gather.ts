/** Rows of a matrix by number, and its transpose. */
import type { Scope } from '../gpu/scope.ts';
import { empty, zeros } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/**
 * y_i = x[index_i]
 *
 * @param x     [N, D]
 * @param index u32 [R], each below N; an index may repeat
 * @returns     [R, D]
 */
export function gatherRows(s: Scope, x: Tensor, index: Tensor, label = `rows of ${x.label}`): Tensor {
  const [rows, d] = [index.size, x.cols];
  const y = empty(s, [rows, d], label);
  const grid = { threads: y.size, cost: { bytes: 8 * y.size } };
  s.gpu.run('tensor/gather_rows', { x, index, y }, { rows, d }, grid);
  s.tape?.record(y, [x], (scope, dy) => [scatterRows(scope, dy, index, x.rows)]);
  return y;
}

/** [N, D] with dx_n = Σ dy_i over the i whose index is n, and zero where there is none. */
function scatterRows(s: Scope, dy: Tensor, index: Tensor, n: number): Tensor {
  const [rows, d] = [dy.rows, dy.cols];
  const dx = zeros(s, [n, d], 'scattered rows');
  const grid = { groups: rows, cost: { bytes: 8 * dy.size } };
  s.gpu.run('tensor/scatter_rows', { dy, index, dx }, { rows, d }, grid);
  return dx;
}

/** factor · xᵀ: [R, D] to [D, R]. */
export function transpose(s: Scope, x: Tensor, factor = 1): Tensor {
  const y = empty(s, [x.cols, x.rows], `${x.label} transposed`);
  s.gpu.run('tensor/transpose', { x, y }, { rows: x.rows, cols: x.cols, factor }, { threads: y.size });
  return y;
}
