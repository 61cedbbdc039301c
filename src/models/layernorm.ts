/** Layer normalisation: forward, and the gradient by its input (weights are frozen). */
import { ShapeError } from '../errors.ts';
import { choose, gridOf } from '../gpu/rung.ts';
import type { Rung } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from '../tensor/elementwise.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

interface Rows {
  readonly rows: number;
  readonly d: number;
}

export type LayernormRung = Rung<Rows>;

/** A workgroup for each row. */
const definition: Omit<LayernormRung, 'kernel'> = {
  fits: () => true,
  grid: ({ rows }) => ({ groups: rows }),
};

/** A subgroup of known size for each row, four columns at a time: 3 (lavapipe) to 10 times (SwiftShader) as fast. */
const subgroup: Omit<LayernormRung, 'kernel'> = {
  fits: ({ d }, { kind, subgroupSize }) => kind === 'software' && subgroupSize > 0 && d % 4 === 0,
  grid: ({ rows }) => ({ groups: rows }),
  overrides: (_, { subgroupSize }) => ({ WG: subgroupSize }),
};

/** A workgroup for each row whose sums are made by subgroups of any size: for GPUs. */
const workgroup: Omit<LayernormRung, 'kernel'> = {
  fits: ({ d }, { subgroupMaxSize: most }) => most > 0 && most <= 128 && d % 4 === 0,
  suits: (_, { kind }) => kind === 'gpu',
  grid: ({ rows }) => ({ groups: rows }),
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

/**
 * y = (x − μ) / √(σ² + ε) ⊙ weight + bias, row by row.
 *
 * @param x      [T, D]
 * @param weight [D]
 * @param bias   [D]
 * @throws ShapeError when weight or bias is not as wide as x
 */
export function layernorm(
  s: Scope,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  eps: number,
  rung = choose(LAYERNORM, rowsOf(x), s.gpu.adapter),
): Tensor {
  const shape = rowsOf(x);
  if (weight.size !== shape.d || bias.size !== shape.d)
    throw new ShapeError(
      `layernorm: "${x.label}" has ${shape.d} columns, "${weight.label}" ${weight.size}, "${bias.label}" ${bias.size}.`,
    );
  const y = empty(s, x.shape, 'layernorm');
  const cost = { flops: 8 * x.size, bytes: 8 * x.size, shape: `${shape.rows}x${shape.d}` };
  const grid = gridOf(rung, shape, s.gpu.adapter, cost);
  s.gpu.run(rung.kernel, { x, weight, bias, y }, { ...shape, eps }, grid);
  s.tape?.record(y, [x], (scope, dy) => [layernormBackward(scope, x, weight, dy, eps)]);
  return y;
}

/** dL/dx [T, D] from dL/dy and the forward pass's input. */
export function layernormBackward(
  s: Scope,
  x: Tensor,
  weight: Tensor,
  dy: Tensor,
  eps: number,
  rung = choose(LAYERNORM_BACKWARD, rowsOf(x), s.gpu.adapter),
): Tensor {
  sameShape('layernormBackward', x, dy);
  const shape = rowsOf(x);
  const dx = empty(s, x.shape, `d ${x.label}`);
  const cost = { flops: 15 * x.size, bytes: 12 * x.size, shape: `${shape.rows}x${shape.d}` };
  const grid = gridOf(rung, shape, s.gpu.adapter, cost);
  s.gpu.run(rung.kernel, { x, weight, dy, dx }, { ...shape, eps }, grid);
  return dx;
}

function rowsOf(x: Tensor): Rows {
  return { rows: x.rows, d: x.cols };
}
