/** Between 16-bit floats and f32, on the GPU and bit for bit. */
import type { Scope } from '../gpu/scope.ts';
import { empty } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** Words of two halves (`kind`) to f32 numbers in `y`. */
export function widen(s: Scope, packed: Tensor, y: Tensor, kind: 'F16' | 'BF16'): void {
  const n = y.size;
  s.gpu.run(
    'tensor/widen',
    { packed, y },
    { n },
    { threads: Math.ceil(n / 2), overrides: { BF16: kind === 'BF16' ? 1 : 0 } },
  );
}

/** The f32 numbers `x` rounded to nearest even, as dtype `f16`: in `out`, or in a new tensor. */
export function narrow(s: Scope, x: Tensor, out?: Tensor): Tensor {
  const packed = out ?? empty(s, x.shape, x.label, 'f16');
  s.gpu.run('tensor/narrow', { x, packed }, { n: x.size }, { threads: Math.ceil(x.size / 2) });
  return packed;
}
