/** The non-linearity of GPT-2's MLP. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from './elementwise.ts';
import { empty } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/**
 * GELU in its tanh form ("gelu_new"), element by element.
 *
 * @throws ShapeError when the size of x is not a multiple of 4
 */
export function gelu(s: Scope, x: Tensor, label = 'gelu'): Tensor {
  const n = x.size;
  if (n % 4 !== 0) throw new ShapeError(`gelu: "${x.label}" has ${n} elements, not a multiple of 4.`);
  const y = empty(s, x.shape, label);
  s.gpu.run('tensor/gelu', { x, y }, { n }, { threads: n / 4, cost: { flops: 10 * n, bytes: 8 * n } });
  s.tape?.record(y, [x], (scope, dy) => [geluBackward(scope, x, dy)]);
  return y;
}

/** dL/dx from dL/dy and the input of the forward pass. */
export function geluBackward(s: Scope, x: Tensor, dy: Tensor): Tensor {
  sameShape('geluBackward', x, dy);
  const dx = empty(s, x.shape, `d ${x.label}`);
  const n = x.size;
  s.gpu.run(
    'tensor/gelu_backward',
    { x, dy, dx },
    { n },
    { threads: n / 4, cost: { flops: 18 * n, bytes: 12 * n } },
  );
  return dx;
}
