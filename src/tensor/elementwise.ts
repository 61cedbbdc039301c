/** Ops that treat every element alike. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, bytesOf, empty, isHalf, windows } from './tensor.ts';

/** a + b, both of one shape. */
export function add(s: Scope, a: Tensor, b: Tensor, label = 'sum'): Tensor {
  sameShape('add', a, b);
  const y = empty(s, a.shape, label);
  s.gpu.run(
    'tensor/add',
    { a, b, y },
    { n: y.size },
    { threads: y.size, cost: { flops: y.size, bytes: 12 * y.size } },
  );
  s.tape?.record(y, [a, b], (_, dy) => [dy, dy]);
  return y;
}

/** @throws ShapeError naming both shapes */
export function sameShape(op: string, a: Tensor, b: Tensor): void {
  if (a.shape.join() !== b.shape.join()) {
    throw new ShapeError(
      `${op}: shapes differ: "${a.label}" [${a.shape.join(', ')}], "${b.label}" [${b.shape.join(', ')}].`,
    );
  }
}

/** Words of two halves (`kind`) to f32 numbers in `y`. */
export function widen(s: Scope, packed: Tensor, y: Tensor, kind: 'f16' | 'bf16'): void {
  const grid = { threads: Math.ceil(y.size / 2), overrides: { BF16: kind === 'bf16' ? 1 : 0 } };
  s.gpu.run('tensor/widen', { packed, y }, { n: y.size }, grid);
}

/** Random numbers of mean 0, the same for the same seed: in a matrix of f32 or f16. */
export function drawInto(s: Scope, y: Tensor, seed: number, deviation: number): void {
  for (const [from, to] of windows(s.gpu, y.rows, y.cols * bytesOf(y.dtype))) {
    const n = (to - from) * y.cols;
    const half = isHalf(y.dtype);
    s.gpu.run(
      'tensor/draw',
      { y: y.reshape(y.rows, y.cols).slice(from, to) },
      { n, first: from * y.cols, seed, deviation },
      {
        threads: half ? Math.ceil(n / 2) : n,
        overrides: { HALF: half ? 1 : 0 },
        cost: { bytes: n * bytesOf(y.dtype) },
      },
    );
  }
}

/** The f32 numbers `x` rounded to nearest even: in `packed`, f16 or bf16, or in a new tensor of f16. */
export function narrow(s: Scope, x: Tensor, packed = empty(s, x.shape, x.label, 'f16')): Tensor {
  const overrides = { BF16: packed.dtype === 'bf16' ? 1 : 0 };
  s.gpu.run('tensor/narrow', { x, packed }, { n: x.size }, { threads: Math.ceil(x.size / 2), overrides });
  return packed;
}
