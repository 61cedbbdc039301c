/** δ enters at the subject's last tokens; keys leave by their mean. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { copy, empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * x with delta added at some rows. x counts as frozen: only delta gets a gradient, the sum over those rows.
 *
 * @param x        [T, D]
 * @param delta    [D]
 * @param lookups  u32 [n] rows of x, all different
 * @returns        [T, D]
 */
export function addAtRows(s: Scope, x: Tensor, delta: Tensor, lookups: Tensor): Tensor {
  const d = width('addAtRows', x, delta);
  const n = lookups.size;
  const y = copy(s, x, 'x_plus_delta');
  const cost = { flops: n * d, bytes: 8 * n * d };
  s.gpu.run('edit/add_at_rows', { delta, rows: lookups, y }, { n, d }, { threads: n * d, cost });
  s.tape?.record(y, [delta], (inner, dy) => [sumAtRows(inner, dy, lookups)]);
  return y;
}

/** Sum of the rows `lookups` of dy, in their order: [T, D] to [D]. */
export function sumAtRows(s: Scope, dy: Tensor, lookups: Tensor): Tensor {
  const [n, d] = [lookups.size, dy.cols];
  const sum = empty(s, [d], 'sum_at_rows');
  const cost = { flops: n * d, bytes: 4 * n * d };
  s.gpu.run('edit/sum_at_rows', { dy, rows: lookups, sum }, { n, d }, { threads: d, cost });
  return sum;
}

/** Mean of the rows of x: [n, D] to [D]. */
export function meanRows(s: Scope, x: Tensor, label = 'mean'): Tensor {
  const [n, d] = [x.rows, x.cols];
  if (n === 0) throw new ShapeError(`meanRows: "${x.label}" has no rows. Give at least one context.`);
  const mean = empty(s, [d], label);
  s.gpu.run(
    'edit/mean_rows',
    { x, mean },
    { n, d },
    { threads: d, cost: { flops: n * d, bytes: 4 * n * d } },
  );
  return mean;
}

function width(op: string, x: Tensor, delta: Tensor): number {
  if (delta.size !== x.cols)
    throw new ShapeError(`${op}: delta has ${delta.size} numbers, the rows of "${x.label}" ${x.cols}.`);
  return x.cols;
}
