/** The δ of every request enters at its subject's last tokens; keys leave by their mean. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { startsOf } from '../models/batch.ts';
import { putRows } from '../tensor/gather.ts';
import { type Tensor, copy, empty, indices, upload } from '../tensor/tensor.ts';

/** Rows of a stream, and the request that each belongs to. */
export interface Lookups {
  /** u32 [m] rows, all different, request by request */
  readonly rows: Tensor;
  /** u32 [m] requests */
  readonly owners: Tensor;
  /** u32 [n + 1] where the rows of each request begin, and m */
  readonly starts: Tensor;
  /** [m] what each row counts for in a sum over a request's. */
  readonly weights: Tensor;
}

/**
 * @param rows    of each request; none for one that has left the batch
 * @param weights of the rows of a request that has c of them; absent: all 1
 */
export function lookupsOf(
  s: Scope,
  rows: readonly (readonly number[])[],
  weights?: readonly number[],
): Lookups {
  const all = rows.flatMap((list) => weights ?? list.map(() => 1));
  const owners = rows.flatMap((list, request) => list.map(() => request));
  return {
    rows: indices(s, rows.flat(), 'lookups'),
    owners: indices(s, owners, 'owners'),
    starts: indices(s, startsOf(rows.map(({ length }) => length)), 'starts'),
    weights: upload(s, Float32Array.from(all), [all.length], 'weights'),
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
  const { rows, owners, starts } = lookups;
  if (delta.size !== (starts.size - 1) * x.cols)
    throw new ShapeError(
      `addAtRows: delta has ${delta.size} numbers for ${starts.size - 1} requests, the rows of "${x.label}" ${x.cols}.`,
    );
  const y = putRows(s, copy(s, x, 'x_plus_delta'), delta, rows, owners, { add: true });
  s.tape?.record(y, [delta], (inner, dy) => [sumRows(inner, dy, lookups)]);
  return y;
}

/** Weighted sums of the rows of x that each request has, in their order: [T, D] to [n, D], 0 for one without rows. */
export function sumRows(
  s: Scope,
  x: Tensor,
  { rows, starts, weights }: Omit<Lookups, 'owners'>,
  label = 'sum_rows',
): Tensor {
  const [n, m, d] = [starts.size - 1, rows.size, x.cols];
  const y = empty(s, [n, d], label);
  const cost = { flops: 2 * m * d, bytes: 4 * (m + n) * d };
  s.gpu.run('tensor/sum_rows', { x, rows, weights, starts, y }, { n, d }, { threads: n * d, cost });
  return y;
}

/**
 * Weighted mean of each `weights.length` rows of x: [n c, D] to [n, D].
 *
 * @param weights of the rows of a request, c of them, that sum up to 1
 */
export function meanRows(s: Scope, x: Tensor, weights: readonly number[], label = 'mean'): Tensor {
  const c = weights.length;
  const n = x.rows / c;
  if (c === 0 || n === 0)
    throw new ShapeError(`meanRows: "${x.label}" has no rows. Give at least one context.`);
  if (!Number.isInteger(n))
    throw new ShapeError(`meanRows: "${x.label}" has ${x.rows} rows, ${c} a request.`);
  const rows = Array.from({ length: n }, (_, r) => Array.from({ length: c }, (__, j) => r * c + j));
  return sumRows(s, x, lookupsOf(s, rows, weights), label);
}

/** All weights 1/c. */
export function evenly(c: number): number[] {
  return Array<number>(c).fill(1 / c);
}
