/** The non-linearities of MLPs: GELU in both forms, and Llama's gated unit. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from './elementwise.ts';
import { type Tensor, empty } from './tensor.ts';

/**
 * GELU in its tanh form ("gelu_new"), element by element.
 *
 * @throws ShapeError when the size of x is not a multiple of 4
 */
export function gelu(s: Scope, x: Tensor, label = 'gelu'): Tensor {
  return pointwise(s, GELU, x, label);
}

/** dL/dx from dL/dy and the input of the forward pass. */
export function geluBackward(s: Scope, x: Tensor, dy: Tensor): Tensor {
  return pointwiseBackward(s, GELU, x, dy);
}

/**
 * GELU as it is defined, x Φ(x) ("gelu"), element by element; within float32's rounding of it.
 *
 * @throws ShapeError when the size of x is not a multiple of 4
 */
export function geluErf(s: Scope, x: Tensor, label = 'gelu'): Tensor {
  return pointwise(s, GELU_ERF, x, label);
}

/** dL/dx from dL/dy and the input of the forward pass. */
export function geluErfBackward(s: Scope, x: Tensor, dy: Tensor): Tensor {
  return pointwiseBackward(s, GELU_ERF, x, dy);
}

/**
 * silu(gate) ⊙ up, with silu(g) = g / (1 + exp(−g)).
 *
 * @param gateUp [T, 2F] = gate | up
 * @returns      [T, F]
 * @throws ShapeError when F is not a multiple of 4
 */
export function siluGate(s: Scope, gateUp: Tensor, label = 'silu_gate'): Tensor {
  const [tokens, f] = [gateUp.rows, gateUp.cols / 2];
  if (f % 4 !== 0)
    throw new ShapeError(
      `siluGate: "${gateUp.label}" has ${gateUp.cols} columns, expected gate | up of a multiple of 4 each.`,
    );
  const y = empty(s, [tokens, f], label);
  const cost = { flops: 6 * y.size, bytes: 12 * y.size };
  s.gpu.run('tensor/silu_gate', { gate_up: gateUp, y }, { tokens, f }, { threads: y.size / 4, cost });
  s.tape?.record(y, [gateUp], (scope, dy) => [siluGateBackward(scope, gateUp, dy)]);
  return y;
}

/** dL/d(gate | up) [T, 2F] from dL/dy [T, F] and the input of the forward pass. */
export function siluGateBackward(s: Scope, gateUp: Tensor, dy: Tensor): Tensor {
  if (dy.rows !== gateUp.rows || 2 * dy.cols !== gateUp.cols)
    throw new ShapeError(
      `siluGateBackward: "${dy.label}" [${dy.shape.join(', ')}] is not half of "${gateUp.label}" [${gateUp.shape.join(', ')}].`,
    );
  const d = empty(s, gateUp.shape, `d ${gateUp.label}`);
  const [bindings, params] = [
    { gate_up: gateUp, dy, d_gate_up: d },
    { tokens: dy.rows, f: dy.cols },
  ];
  const cost = { flops: 12 * dy.size, bytes: 20 * dy.size };
  s.gpu.run('tensor/silu_gate_backward', bindings, params, { threads: dy.size / 4, cost });
  return d;
}

interface Pointwise {
  readonly op: string;
  readonly kernel: string;
  readonly backward: string;
  /** An element, forward and backward. */
  readonly flops: readonly [number, number];
}

const GELU: Pointwise = {
  ...{ op: 'gelu', kernel: 'tensor/gelu', backward: 'tensor/gelu_backward' },
  flops: [10, 18],
};

const GELU_ERF: Pointwise = {
  ...{ op: 'geluErf', kernel: 'tensor/gelu_erf', backward: 'tensor/gelu_erf_backward' },
  flops: [40, 45],
};

function pointwise(s: Scope, f: Pointwise, x: Tensor, label: string): Tensor {
  const n = x.size;
  if (n % 4 !== 0) throw new ShapeError(`${f.op}: "${x.label}" has ${n} elements, not a multiple of 4.`);
  const y = empty(s, x.shape, label);
  s.gpu.run(f.kernel, { x, y }, { n }, { threads: n / 4, cost: { flops: f.flops[0] * n, bytes: 8 * n } });
  s.tape?.record(y, [x], (scope, dy) => [pointwiseBackward(scope, f, x, dy)]);
  return y;
}

function pointwiseBackward(s: Scope, f: Pointwise, x: Tensor, dy: Tensor): Tensor {
  sameShape(`${f.op}Backward`, x, dy);
  const dx = empty(s, x.shape, `d ${x.label}`);
  const n = x.size;
  const grid = { threads: n / 4, cost: { flops: f.flops[1] * n, bytes: 12 * n } };
  s.gpu.run(f.backward, { x, dy, dx }, { n }, grid);
  return dx;
}
