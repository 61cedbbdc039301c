/**
 * Layer normalisation of rows, root mean square normalisation of rows or heads: forward, and the gradient by the input
 * (weights are frozen).
 */
import { ShapeError } from '../errors.ts';
import { type Rung, choose, gridOf } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from '../tensor/elementwise.ts';
import { type Tensor, copy, empty } from '../tensor/tensor.ts';
import { type HeadLayout, checkHeads } from './heads.ts';

/** What is normalised of each row: `parts` stretches of `d` numbers from column `first` on, `step` columns apart. */
export interface Stretches {
  readonly rows: number;
  /** Numbers of a row. */
  readonly row: number;
  readonly parts: number;
  readonly first: number;
  readonly step: number;
  readonly d: number;
  /** Root mean square normalisation: no mean is taken off, no bias added. */
  readonly rms: boolean;
}

/** Whole rows. */
export function wholeRows(rows: number, d: number, rms = false): Stretches {
  return { rows, row: d, parts: 1, first: 0, step: d, d, rms };
}

export type LayernormRung = Rung<Stretches>;

/** A workgroup for each stretch. */
const definition: Omit<LayernormRung, 'kernel'> = {
  fits: () => true,
  grid: ({ rows, parts }) => ({ groups: rows * parts }),
  overrides: ({ rms }) => ({ RMS: rms ? 1 : 0 }),
};

const inQuads = ({ row, first, step, d }: Stretches): boolean =>
  [row, first, step, d].every((n) => n % 4 === 0);

/** A subgroup of known size for each, four columns at a time: 3 (lavapipe) to 10 times (SwiftShader) as fast. */
const subgroup: Omit<LayernormRung, 'kernel'> = {
  ...definition,
  fits: (shape, { kind, subgroupSize }) => kind === 'software' && subgroupSize > 0 && inQuads(shape),
  overrides: ({ rms }, { subgroupSize }) => ({ RMS: rms ? 1 : 0, WG: subgroupSize }),
};

/** A workgroup for each, whose sums are made by subgroups of any size: for GPUs. */
const workgroup: Omit<LayernormRung, 'kernel'> = {
  ...definition,
  fits: (shape, { subgroupMaxSize: most }) => most > 0 && most <= 128 && inQuads(shape),
  suits: (_, { kind }) => kind === 'gpu',
};

export const LAYERNORM: readonly LayernormRung[] = [
  { kernel: 'models/layernorm_workgroup', ...workgroup },
  { kernel: 'software/layernorm_subgroup', ...subgroup },
  { kernel: 'models/layernorm_1', ...definition },
];

export const LAYERNORM_BACKWARD: readonly LayernormRung[] = [
  { kernel: 'models/layernorm_backward_workgroup', ...workgroup },
  { kernel: 'software/layernorm_backward_subgroup', ...subgroup },
  { kernel: 'models/layernorm_backward_1', ...definition },
];

/** A ladder, and what a number costs. */
interface Pass {
  readonly ladder: readonly LayernormRung[];
  readonly flops: number;
  readonly bytes: number;
}

const FORWARD: Pass = { ladder: LAYERNORM, flops: 8, bytes: 8 };
const BACKWARD: Pass = { ladder: LAYERNORM_BACKWARD, flops: 15, bytes: 12 };

/**
 * y = (x − μ) / √(σ² + ε) ⊙ weight + bias, row by row; without a bias RMSNorm, y = x / √(mean(x²) + ε) ⊙ weight.
 *
 * @param x      [T, D]
 * @param weight [D]
 * @param bias   [D], or none
 * @throws ShapeError when weight or bias is not as wide as x
 */
export function layernorm(
  s: Scope,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  eps: number,
  rung?: LayernormRung,
): Tensor {
  const op = bias ? 'layernorm' : 'rmsnorm';
  const operands = { x, weight, bias: bias ?? weight }; // which is not looked at
  for (const t of [weight, operands.bias]) checkWidth(op, t, x.cols);
  const y = empty(s, x.shape, op);
  run(s, FORWARD, wholeRows(x.rows, x.cols, !bias), { ...operands, y }, eps, rung);
  s.tape?.record(y, [x], (scope, dy) => [layernormBackward(scope, x, weight, dy, eps, !bias)]);
  return y;
}

/** dL/dx [T, D] from dL/dy and the forward pass's input. */
export function layernormBackward(
  s: Scope,
  x: Tensor,
  weight: Tensor,
  dy: Tensor,
  eps: number,
  rms = false,
  rung?: LayernormRung,
): Tensor {
  sameShape('layernormBackward', x, dy);
  const dx = empty(s, x.shape, `d ${x.label}`);
  run(s, BACKWARD, wholeRows(x.rows, x.cols, rms), { x, weight, dy, dx }, eps, rung);
  return dx;
}

/**
 * RMSNorm of every head of q and of k by itself, each with a weight of its own, as Qwen 3 does before RoPE. The values
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
  for (const weight of [q, k]) checkWidth('rmsnormHeads', weight, S);
  const row = { rows: qkv.rows, row: qkv.cols, step, d: S, rms: true };
  const both: [Tensor, Stretches][] = [
    [q, { ...row, parts: H, first: heads.q }],
    [k, { ...row, parts: KV, first: heads.k }],
  ];
  const y = copy(s, qkv, 'normed qkv');
  for (const [weight, at] of both) run(s, FORWARD, at, { x: qkv, weight, bias: weight, y }, eps);
  s.tape?.record(y, [qkv], (scope, dy) => {
    sameShape('rmsnormHeads backward', qkv, dy);
    const dx = copy(scope, dy, `d ${qkv.label}`);
    for (const [weight, at] of both) run(scope, BACKWARD, at, { x: qkv, weight, dy, dx }, eps);
    return [dx];
  });
  return y;
}

/** Forward or back, by the rung that suits unless one is given. */
function run(
  s: Scope,
  { ladder, flops, bytes }: Pass,
  at: Stretches,
  bindings: Readonly<Record<string, Tensor>>,
  eps: number,
  rung = choose(ladder, at, s.gpu.adapter),
): void {
  const { rms: _, ...sizes } = at;
  const n = at.rows * at.parts * at.d;
  const shape = `${at.rows * at.parts}x${at.d}`;
  const cost = { flops: flops * n, bytes: bytes * n, shape };
  s.gpu.run(rung.kernel, bindings, { ...sizes, eps }, gridOf(rung, at, s.gpu.adapter, cost));
}

function checkWidth(op: string, t: Tensor, d: number): void {
  if (t.size === d) return;
  throw new ShapeError(`${op}: "${t.label}" has ${t.size} numbers, expected ${d}.`);
}
