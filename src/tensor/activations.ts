/** The non-linearities of MLPs: GELU in both forms, and Llama's gated unit. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from './elementwise.ts';
import { type Tensor, empty } from './tensor.ts';

/**
 * GELU in its tanh form ("gelu_new"), element by element; dL/dx from the input of the forward pass and dL/dy.
 *
 * @throws ShapeError when the size of x is not a multiple of 4
 */
export const [gelu, geluBackward] = pointwise({
  ...{ op: 'gelu', kernel: 'tensor/gelu', backward: 'tensor/gelu_backward' },
  flops: [10, 18],
});

/** The same for GELU as it is defined, x Φ(x) ("gelu"); within float32's rounding of it. */
export const [geluErf, geluErfBackward] = pointwise({
  ...{ op: 'geluErf', kernel: 'tensor/gelu_erf', backward: 'tensor/gelu_erf_backward' },
  flops: [40, 45],
});

/**
 * silu(gate) ⊙ up, with silu(g) = g / (1 + exp(−g)).
 *
 * @param gateUp [T, 2F] = gate | up
 * @returns      [T, F]
 * @throws ShapeError when F is not a multiple of 4
 */
export function siluGate(s: Scope, gateUp: Tensor): Tensor {
  const [tokens, f] = [gateUp.rows, gateUp.cols / 2];
  if (f % 4 !== 0)
    throw new ShapeError(
      `siluGate: "${gateUp.label}" has ${gateUp.cols} columns, expected gate | up of a multiple of 4 each.`,
    );
  const y = empty(s, [tokens, f], 'silu_gate');
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

/** The op, which records its gradient, and the gradient. */
function pointwise({ op, kernel, backward, flops: [forth, back] }: Pointwise) {
  const run = (s: Scope, x: Tensor): Tensor => {
    const n = x.size;
    if (n % 4 !== 0) throw new ShapeError(`${op}: "${x.label}" has ${n} elements, not a multiple of 4.`);
    const y = empty(s, x.shape, 'gelu');
    s.gpu.run(kernel, { x, y }, { n }, { threads: n / 4, cost: { flops: forth * n, bytes: 8 * n } });
    s.tape?.record(y, [x], (scope, dy) => [gradient(scope, x, dy)]);
    return y;
  };
  const gradient = (s: Scope, x: Tensor, dy: Tensor): Tensor => {
    sameShape(`${op}Backward`, x, dy);
    const dx = empty(s, x.shape, `d ${x.label}`);
    const n = x.size;
    s.gpu.run(backward, { x, dy, dx }, { n }, { threads: n / 4, cost: { flops: back * n, bytes: 12 * n } });
    return dx;
  };
  return [run, gradient] as const;
}
