/** Rows of a matrix by number, and its transpose. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty, zeros } from './tensor.ts';

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

/**
 * y[rows_i] = x[sources_i] from column `first` on, in place; with `add` they are added.
 *
 * @param y       [T, D]
 * @param x       [N, first + D]
 * @param rows    u32 [n] rows of y, all different
 * @param sources u32 [n] rows of x
 * @returns       y
 * @throws ShapeError when the widths differ, or rows and sources differ in number
 */
export function putRows(
  s: Scope,
  y: Tensor,
  x: Tensor,
  rows: Tensor,
  sources: Tensor,
  { first = 0, add = false }: { readonly first?: number; readonly add?: boolean } = {},
): Tensor {
  const [n, d] = [rows.size, y.cols];
  if (x.cols !== first + d || sources.size !== n)
    throw new ShapeError(
      `putRows: "${x.label}" [${x.shape.join(', ')}] from column ${first} to "${y.label}" [${y.shape.join(', ')}], ${sources.size} rows for ${n}.`,
    );
  const grid = { threads: n * d, overrides: { ADD: add ? 1 : 0 }, cost: { bytes: 8 * n * d } };
  s.gpu.run('tensor/put_rows', { x, rows, sources, y }, { n, d, first }, grid);
  return y;
}

/** factor · xᵀ: [R, D] to [D, R]. */
export function transpose(s: Scope, x: Tensor, factor = 1): Tensor {
  const y = empty(s, [x.cols, x.rows], `${x.label} transposed`);
  s.gpu.run('tensor/transpose', { x, y }, { rows: x.rows, cols: x.cols, factor }, { threads: y.size });
  return y;
}
