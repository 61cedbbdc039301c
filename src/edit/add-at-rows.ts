/** The δ of every request enters at its subject's last tokens; keys leave by their mean. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { startsOf } from '../models/batch.ts';
import { copy, empty, indices, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Rows of a stream, and the request that each belongs to. */
export interface Lookups {
  /** u32 [m] rows, all different, request by request */
  readonly rows: Tensor;
  /** u32 [m] requests */
  readonly owners: Tensor;
  /** u32 [n + 1] where the rows of each request begin, and m */
  readonly starts: Tensor;
}

/** @param rows of each request; none for one that has left the batch */
export function lookupsOf(s: Scope, rows: readonly (readonly number[])[]): Lookups {
  return {
    rows: indices(s, rows.flat(), 'lookups'),
    owners: indices(
      s,
      rows.flatMap((list, request) => list.map(() => request)),
      'owners',
    ),
    starts: indices(s, startsOf(rows.map(({ length }) => length)), 'starts'),
  };
}

/**
 * x with the δ of its request added at some rows. x counts as frozen: only delta gets a gradient, of each request the
 * sum over its rows.
 *
 * @param x        [T, D]
 * @param delta    [n, D]
 * @returns        [T, D]
 */
export function addAtRows(s: Scope, x: Tensor, delta: Tensor, lookups: Lookups): Tensor {
  const d = x.cols;
  const { rows, owners, starts } = lookups;
  if (delta.size !== (starts.size - 1) * d)
    throw new ShapeError(
      `addAtRows: delta has ${delta.size} numbers for ${starts.size - 1} requests, the rows of "${x.label}" ${d}.`,
    );
  const m = rows.size;
  const y = copy(s, x, 'x_plus_delta');
  const cost = { flops: m * d, bytes: 12 * m * d };
  s.gpu.run('edit/add_at_rows', { delta, rows, owners, y }, { m, d }, { threads: m * d, cost });
  s.tape?.record(y, [delta], (inner, dy) => [sumAtRows(inner, dy, lookups)]);
  return y;
}

/** Sums of the rows of dy that each request has, in their order: [T, D] to [n, D], 0 for a request without rows. */
export function sumAtRows(s: Scope, dy: Tensor, { rows, starts }: Lookups): Tensor {
  const [n, m, d] = [starts.size - 1, rows.size, dy.cols];
  const sum = empty(s, [n, d], 'sum_at_rows');
  const cost = { flops: m * d, bytes: 4 * (m + n) * d };
  s.gpu.run('edit/sum_at_rows', { dy, rows, starts, sum }, { n, d }, { threads: n * d, cost });
  return sum;
}

/**
 * Weighted mean of each `weights.length` rows of x: [n c, D] to [n, D].
 *
 * @param weights of the rows of a request, c of them, that sum up to 1
 */
export function meanRows(s: Scope, x: Tensor, weights: readonly number[], label = 'mean'): Tensor {
  const [c, d] = [weights.length, x.cols];
  const n = x.rows / c;
  if (c === 0 || n === 0)
    throw new ShapeError(`meanRows: "${x.label}" has no rows. Give at least one context.`);
  if (!Number.isInteger(n))
    throw new ShapeError(`meanRows: "${x.label}" has ${x.rows} rows, ${c} a request.`);
  const mean = empty(s, [n, d], label);
  const bindings = { x, weights: upload(s, Float32Array.from(weights), [c], 'weights'), mean };
  const cost = { flops: 2 * x.size, bytes: 4 * (x.size + n * d) };
  s.gpu.run('edit/mean_rows', bindings, { n, c, d }, { threads: n * d, cost });
  return mean;
}

/** All weights 1/c. */
export function evenly(c: number): number[] {
  return Array<number>(c).fill(1 / c);
}
