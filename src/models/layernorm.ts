/** Layer normalisation: forward, and the gradient by its input (weights are frozen). */
import { ShapeError } from '../errors.ts';
import type { AdapterSummary, Grid } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from '../tensor/elementwise.ts';
import { groupPerRow } from '../tensor/grid.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * y = (x − μ) / √(σ² + ε) ⊙ weight + bias, row by row.
 *
 * @param x      [T, D]
 * @param weight [D]
 * @param bias   [D]
 * @throws ShapeError when weight or bias is not as wide as x
 */
export function layernorm(s: Scope, x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const [rows, d] = [x.rows, x.cols];
  if (weight.size !== d || bias.size !== d)
    throw new ShapeError(
      `layernorm: "${x.label}" has ${d} columns, "${weight.label}" ${weight.size}, "${bias.label}" ${bias.size}.`,
    );
  const y = empty(s, x.shape, 'layernorm');
  const cost = { flops: 8 * x.size, bytes: 8 * x.size, shape: `${rows}x${d}` };
  const { number, grid } = rungFor(s.gpu.adapter, rows, d);
  s.gpu.run(`models/layernorm_${number}`, { x, weight, bias, y }, { rows, d, eps }, { ...grid, cost });
  s.tape?.record(y, [x], (scope, dy) => [layernormBackward(scope, x, weight, dy, eps)]);
  return y;
}

/** dL/dx [T, D] from dL/dy and the forward pass's input. */
export function layernormBackward(s: Scope, x: Tensor, weight: Tensor, dy: Tensor, eps: number): Tensor {
  sameShape('layernormBackward', x, dy);
  const [rows, d] = [x.rows, x.cols];
  const dx = empty(s, x.shape, `d ${x.label}`);
  const cost = { flops: 15 * x.size, bytes: 12 * x.size, shape: `${rows}x${d}` };
  const { number, grid } = rungFor(s.gpu.adapter, rows, d);
  const name = `models/layernorm_backward_${number}`;
  s.gpu.run(name, { x, weight, dy, dx }, { rows, d, eps }, { ...grid, cost });
  return dx;
}

/** Rung 2 gives every row to a subgroup of known size, which is 3 (lavapipe) to 10 times (SwiftShader) as fast. */
function rungFor(adapter: AdapterSummary, rows: number, d: number): { number: 1 | 2; grid: Grid } {
  const groups = groupPerRow(rows);
  if (adapter.subgroupSize === 0 || d % 4 !== 0) return { number: 1, grid: { groups } };
  return { number: 2, grid: { groups, overrides: { WG: adapter.subgroupSize } } };
}
