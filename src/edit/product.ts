/** Products with C and with (L Lᵀ)⁻¹ for vectors that the CPU holds in float64: the O(F²) part runs on the GPU. */
import type { Scope } from '../gpu/scope.ts';
import { empty, read, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { BLOCK } from './panels.ts';
import type { Panels } from './panels.ts';

const SLICES = 8; // of product_*.wgsl

/**
 * C x in two floats: x goes in and y comes out as sums of two float32, about 48 bits.
 *
 * @param x  [F]
 * @returns  [F]
 */
export async function symmetricProduct(s: Scope, c: Panels, x: Float64Array): Promise<Float64Array> {
  const { gpu } = s;
  const { n, f, data } = c;
  const size = n * BLOCK;
  return gpu.scope(async (inner) => {
    const [high, low] = [uploadPadded(inner, x, size, 0), uploadPadded(inner, x, size, 1)];
    const parts = empty(inner, [2 * SLICES * size, 2], 'product_parts');
    const y = empty(inner, [2, size], 'product');
    const params = { n, zero: 0 };
    const bind = { c: data, x: high, x_low: low, parts };
    const cost = { flops: 20 * data.size, bytes: 4 * data.size };
    gpu.run('edit/product_rows', bind, params, { threads: [size, SLICES], cost });
    gpu.run('edit/product_columns', bind, params, { threads: [size / 4, SLICES], cost });
    gpu.run('edit/product_sum', { parts, y }, params, { threads: size });
    const both = await read(gpu, y);
    return Float64Array.from({ length: f }, (_, i) => (both[i] ?? NaN) + (both[size + i] ?? NaN));
  });
}

/**
 * (L Lᵀ)⁻¹ b in float32: two triangular solves.
 *
 * @param b  [F]
 * @returns  [F]
 */
export async function factorSolve(s: Scope, factor: Factor, b: Float64Array): Promise<Float64Array> {
  const { f, n } = factor.l;
  // Residuals shrink from step to step: brought to size 1 first, so that nothing is flushed to zero.
  const scale = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (scale === 0) return new Float64Array(f);
  return s.gpu.scope(async (inner) => {
    const right = uploadPadded(
      inner,
      b.map((value) => value / scale),
      n * BLOCK,
      0,
    );
    const x = await read(s.gpu, triangularSolves(inner, factor, right));
    return Float64Array.from(x.subarray(0, f), (value) => value * scale);
  });
}

/** x with L Lᵀ x = b, all [64 n]. */
export function triangularSolves(s: Scope, { l, inverses }: Factor, b: Tensor): Tensor {
  const { n, data } = l;
  const [y, x] = [empty(s, [n * BLOCK], 'y'), empty(s, [n * BLOCK], 'x')];
  for (let q = 0; q < n; q += 1) {
    s.gpu.run('edit/triangular_solve_lower', { l: data, inverses, b, y }, { n, q }, { groups: [1] });
  }
  for (let q = n - 1; q >= 0; q -= 1) {
    s.gpu.run('edit/triangular_solve_upper', { l: data, inverses, y, x }, { n, q }, { groups: [1] });
  }
  return x;
}

/** The high (0) or low (1) float32 of each number, zeros behind. */
function uploadPadded(s: Scope, x: Float64Array, size: number, part: 0 | 1): Tensor {
  const padded = new Float32Array(size);
  x.forEach((value, i) => {
    padded[i] = part === 0 ? value : value - Math.fround(value);
  });
  return upload(s, padded, [size], part === 0 ? 'x' : 'x_low');
}
