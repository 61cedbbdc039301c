/** Root mean square normalisation, of rows or of heads: forward, and the gradient by its input (weights are frozen). */
import { ShapeError } from '../errors.ts';
import { choose, gridOf } from '../gpu/rung.ts';
import type { Rung } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from '../tensor/elementwise.ts';
import { copy, empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkHeads } from './heads.ts';
import type { HeadLayout } from './heads.ts';

/** What is normalised of each row: `parts` stretches of `d` numbers from column `first` on, `step` columns apart. */
export interface Stretches {
  readonly rows: number;
  /** Numbers of a row. */
  readonly row: number;
  readonly parts: number;
  readonly first: number;
  readonly step: number;
  readonly d: number;
}

export type RmsnormRung = Rung<Stretches>;

/** A workgroup for each stretch. */
const definition: Omit<RmsnormRung, 'kernel'> = {
  fits: () => true,
  grid: ({ rows, parts }) => ({ groups: rows * parts }),
};

/** A subgroup of known size for each stretch, four columns at a time. */
const subgroup: Omit<RmsnormRung, 'kernel'> = {
  fits: ({ row, first, step, d }, { kind, subgroupSize }) =>
    kind === 'software' && subgroupSize > 0 && [row, first, step, d].every((n) => n % 4 === 0),
  grid: definition.grid,
  overrides: (_, { subgroupSize }) => ({ WG: subgroupSize }),
};

export const RMSNORM: readonly RmsnormRung[] = [
  { kernel: 'software/rmsnorm_subgroup', ...subgroup },
  { kernel: 'models/rmsnorm_1', ...definition },
];

export const RMSNORM_BACKWARD: readonly RmsnormRung[] = [
  { kernel: 'software/rmsnorm_backward_subgroup', ...subgroup },
  { kernel: 'models/rmsnorm_backward_1', ...definition },
];

/**
 * y = x / √(mean(x²) + ε) ⊙ weight, row by row.
 *
 * @param x      [T, D]
 * @param weight [D]
 * @throws ShapeError when weight is not as wide as x
 */
export function rmsnorm(s: Scope, x: Tensor, weight: Tensor, eps: number): Tensor {
  const whole = { rows: x.rows, row: x.cols, parts: 1, first: 0, step: x.cols, d: x.cols };
  checkWeight('rmsnorm', weight, x.cols);
  const y = empty(s, x.shape, 'rmsnorm');
  forward(s, x, weight, eps, whole, y);
  s.tape?.record(y, [x], (scope, dy) => {
    sameShape('rmsnorm backward', x, dy);
    const dx = empty(scope, x.shape, `d ${x.label}`);
    backward(scope, x, weight, eps, whole, { dy, dx });
    return [dx];
  });
  return y;
}

/**
 * The same on every head of q and of k by itself, each with a weight of its own, as Qwen 3 does before RoPE. The values
 * stay as they are.
 *
 * @param qkv [T, (H + 2 KV) S], laid out as `heads` says; it stays as it is
 * @param q   [S] weight of the queries' heads
 * @param k   [S] weight of the keys' heads
 * @throws ShapeError when qkv or a weight is not as wide as the heads
 */
export function rmsnormHeads(
  s: Scope,
  qkv: Tensor,
  { q, k }: { readonly q: Tensor; readonly k: Tensor },
  heads: HeadLayout,
  eps: number,
): Tensor {
  const { H, KV, S, stride: step } = heads;
  checkHeads('rmsnormHeads', qkv, heads);
  for (const weight of [q, k]) checkWeight('rmsnormHeads', weight, S);
  const row = { rows: qkv.rows, row: qkv.cols, step, d: S };
  const both: [Tensor, Stretches][] = [
    [q, { ...row, parts: H, first: heads.q }],
    [k, { ...row, parts: KV, first: heads.k }],
  ];
  const y = copy(s, qkv, 'normed qkv');
  for (const [weight, stretches] of both) forward(s, qkv, weight, eps, stretches, y);
  s.tape?.record(y, [qkv], (scope, dy) => {
    sameShape('rmsnormHeads backward', qkv, dy);
    const dx = copy(scope, dy, `d ${qkv.label}`);
    for (const [weight, stretches] of both) backward(scope, qkv, weight, eps, stretches, { dy, dx });
    return [dx];
  });
  return y;
}

function forward(s: Scope, x: Tensor, weight: Tensor, eps: number, at: Stretches, y: Tensor): void {
  const rung = choose(RMSNORM, at, s.gpu.adapter);
  s.gpu.run(rung.kernel, { x, weight, y }, { ...at, eps }, gridOf(rung, at, s.gpu.adapter, costOf(at, 4, 8)));
}

function backward(
  s: Scope,
  x: Tensor,
  weight: Tensor,
  eps: number,
  at: Stretches,
  { dy, dx }: { readonly dy: Tensor; readonly dx: Tensor },
): void {
  const rung = choose(RMSNORM_BACKWARD, at, s.gpu.adapter);
  const grid = gridOf(rung, at, s.gpu.adapter, costOf(at, 10, 12));
  s.gpu.run(rung.kernel, { x, weight, dy, dx }, { ...at, eps }, grid);
}

function costOf({ rows, parts, d }: Stretches, flops: number, bytes: number) {
  const n = rows * parts * d;
  return { flops: flops * n, bytes: bytes * n, shape: `${rows * parts}x${d}` };
}

function checkWeight(op: string, weight: Tensor, d: number): void {
  if (weight.size === d) return;
  throw new ShapeError(`${op}: "${weight.label}" has ${weight.size} numbers, expected ${d}.`);
}
