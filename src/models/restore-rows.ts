/** Hands a run the states of another one. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * y[rows_i] = clean[sources_i], in place.
 *
 * @param y       [T, D]
 * @param clean   [N, D] the stored run
 * @param rows    u32 [n] rows of y, all different
 * @param sources u32 [n] rows of `clean`
 * @returns       y
 * @throws ShapeError when the widths differ, or rows and sources differ in number
 */
export function restoreRows(s: Scope, y: Tensor, clean: Tensor, rows: Tensor, sources: Tensor): Tensor {
  const [n, d] = [rows.size, y.cols];
  if (clean.cols !== d || sources.size !== n)
    throw new ShapeError(
      `restoreRows: "${clean.label}" [${clean.shape.join(', ')}] to "${y.label}" [${y.shape.join(', ')}], ${sources.size} rows for ${n}.`,
    );
  const bindings = { clean, rows, sources, y };
  s.gpu.run('models/restore_rows', bindings, { n, d }, { threads: n * d, cost: { bytes: 8 * n * d } });
  return y;
}
