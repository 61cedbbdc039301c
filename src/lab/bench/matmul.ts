/** Matrix products: every rung, at the shapes of GPT-2 small and XL, in both layouts and both storages of b. */
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';
import { narrow } from '../../tensor/half.ts';
import { MATMUL } from '../../tensor/matmul-rungs.ts';
import type { MatmulRung, Product } from '../../tensor/matmul-rungs.ts';
import { matmul } from '../../tensor/matmul.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { empty, upload } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

export type Shape = readonly [m: number, k: number, n: number];

/** An MLP of GPT-2 small for a few rows and for many, one of XL, and a square. */
export const SHAPES: readonly Shape[] = [
  [64, 768, 3072],
  [64, 3072, 768],
  [256, 768, 3072],
  [16, 1600, 6400],
  [16, 6400, 1600],
  [1024, 1024, 1024],
];

export interface Storage {
  readonly transposeB: boolean;
  readonly dtype: 'f32' | 'f16';
}

export const STORAGES: readonly Storage[] = [
  { transposeB: false, dtype: 'f32' },
  { transposeB: true, dtype: 'f32' },
  { transposeB: false, dtype: 'f16' },
  { transposeB: true, dtype: 'f16' },
];

export function productOf([m, k, n]: Shape, storage: Storage): Product {
  return { m, n, k, ...storage, aStride: k, aFirst: 0, strips: true };
}

/** Rungs that this adapter can run at this shape, from the definition on. */
export function rungsFor(gpu: Gpu, shape: Shape, storage: Storage): readonly MatmulRung[] {
  return MATMUL.filter((rung) => rung.fits(productOf(shape, storage), gpu.adapter)).toReversed();
}

/** `16,1600,6400 ᵀ f16`: m, k, n, and how b is stored. */
function shapeLabel(shape: Shape, { transposeB, dtype }: Storage): string {
  return `${shape.join(',')}${transposeB ? ' ᵀ' : ''}${dtype === 'f16' ? ' f16' : ''}`;
}

export function matmulCase(shape: Shape, storage: Storage, rung: MatmulRung): BenchCase {
  const [m, k, n] = shape;
  return {
    name: rung.kernel.replace(/^.*\//, ''),
    shape: shapeLabel(shape, storage),
    kernels: [rung.kernel],
    flops: 2 * m * n * k,
    bytes: 4 * m * (k + n) + (storage.dtype === 'f16' ? 2 : 4) * k * n,
    prepare: (s) => prepareProduct(s, shape, storage, rung),
  };
}

function prepareProduct(
  s: Scope,
  [m, k, n]: Shape,
  { transposeB, dtype }: Storage,
  rung: MatmulRung,
): ReturnType<BenchCase['prepare']> {
  const a = numbers(m * k, 1);
  const b = numbers(k * n, 2);
  // Halves are compared with halves: numbers of 11 bits are the same in both storages.
  if (dtype === 'f16') for (let i = 0; i < b.length; i += 1) b[i] = Math.round((b[i] ?? 0) * 1024) / 1024;
  const ta = upload(s, a, [m, k], 'a');
  const wide = upload(s, b, transposeB ? [n, k] : [k, n], 'b');
  const tb: Tensor = dtype === 'f16' ? narrow(s, wide) : wide;
  const out = empty(s, [m, n], 'c');
  const run = (scope: Scope): Tensor => matmul(scope, ta, tb, { transposeB, out, rung });
  const [first, step] = transposeB ? [k, 1] : [1, n];
  const want = (e: number): number => {
    const [i, j] = [Math.floor(e / n), e % n];
    let sum = 0;
    for (let q = 0; q < k; q += 1) sum += (a[i * k + q] ?? NaN) * (b[j * first + q * step] ?? NaN);
    return sum;
  };
  return { run, check: () => worstError(s.gpu, run(s), want, { reduce: k, scale: 1 }) };
}

export const matmulFamily: Family = {
  name: 'matmul',
  title: 'm,k,n: a [m, k] · b [k, n]; ᵀ: b stored [n, k]; f16: b stored as halves',
  cases: (gpu) =>
    STORAGES.flatMap((storage) =>
      SHAPES.flatMap((shape) =>
        rungsFor(gpu, shape, storage).map((rung) => matmulCase(shape, storage, rung)),
      ),
    ),
};
