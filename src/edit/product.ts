/**
 * Products with C and with (L Lᵀ)⁻¹ for vectors that the CPU holds in float64: the O(F²) part runs on the GPU, for any
 * number of vectors at once.
 */
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty, read, upload } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { type Panels, BLOCK, panelWindow } from './panels.ts';

const SLICES = 8; // of product_*.wgsl

/**
 * C x of every vector in two floats: x goes in and y comes out as sums of two float32, about 48 bits.
 *
 * @param xs  N vectors of F numbers
 * @returns   N vectors of F numbers
 */
export async function symmetricProducts(
  s: Scope,
  c: Panels,
  xs: readonly Float64Array[],
): Promise<Float64Array[]> {
  const { gpu } = s;
  const { n, f } = c;
  const size = n * BLOCK;
  const most = Math.max(1, Math.floor(gpu.maxBindingBytes / (16 * SLICES * size)));
  if (xs.length > most)
    return [
      ...(await symmetricProducts(s, c, xs.slice(0, most))),
      ...(await symmetricProducts(s, c, xs.slice(most))),
    ];
  const N = xs.length;
  return gpu.scope(async (inner) => {
    const [high, low] = [uploadPadded(inner, xs, size, 'x'), uploadPadded(inner, xs, size, 'x_low')];
    const parts = empty(inner, [N * 2 * SLICES * size, 2], 'product_parts');
    const y = empty(inner, [N, 2, size], 'product');
    for (const { first, end, data } of c.pieces) {
      const bind = { c: data, x: high, x_low: low, parts };
      const params = { n, first, end, zero: 0 };
      const cost = { flops: 20 * N * data.size, bytes: 4 * N * data.size };
      const [rows, columns] = [size - BLOCK * first, BLOCK * (end - first)];
      gpu.run('edit/product_rows', bind, params, { threads: [rows, N * SLICES], cost });
      gpu.run('edit/product_columns', bind, params, { threads: [columns / 4, N * SLICES], cost });
    }
    gpu.run('edit/product_sum', { parts, y }, { n, zero: 0 }, { threads: [size, N] });
    const both = await read(gpu, y);
    return xs.map((_, v) => {
      const at = 2 * v * size;
      return Float64Array.from(
        { length: f },
        (__, i) => (both[at + i] ?? NaN) + (both[at + size + i] ?? NaN),
      );
    });
  });
}

/** C x of one vector, [F]. */
export async function symmetricProduct(s: Scope, c: Panels, x: Float64Array): Promise<Float64Array> {
  const [y] = await symmetricProducts(s, c, [x]);
  return y as Float64Array;
}

/**
 * (L Lᵀ)⁻¹ b of every vector in float32: two triangular solves.
 *
 * @param bs  N vectors of F numbers
 * @returns   N vectors of F numbers
 */
export async function factorSolves(
  s: Scope,
  factor: Factor,
  bs: readonly Float64Array[],
): Promise<Float64Array[]> {
  const { f, n } = factor.l;
  const size = n * BLOCK;
  // Residuals shrink from step to step: brought to size 1 first, so that nothing is flushed to zero.
  const scales = bs.map((b) => b.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1);
  return s.gpu.scope(async (inner) => {
    const scaled = bs.map((b, v) => b.map((value) => value / (scales[v] ?? 1)));
    const right = uploadPadded(inner, scaled, size, 'x');
    const x = await read(s.gpu, triangularSolves(inner, factor, right));
    return scales.map((scale, v) =>
      Float64Array.from(x.subarray(v * size, v * size + f), (value) => value * scale),
    );
  });
}

/** X with L Lᵀ X = B, all [N, 64 n], or [64 n] for one right-hand side. */
export function triangularSolves(s: Scope, { l, inverses }: Factor, b: Tensor): Tensor {
  const { n, pieces } = l;
  const [y, x] = [empty(s, b.shape, 'y'), empty(s, b.shape, 'x')];
  const grid = { groups: b.size / (n * BLOCK) };
  for (let q = 0; q < n; q += 1)
    for (const { first, end, data } of pieces) {
      if (first > 0 && first >= q) break; // nothing of it lies left of panel q
      const params = { n, q, first, end: Math.min(q, end) };
      s.gpu.run('edit/triangular_solve_lower', { l: data, inverses, b, y }, params, grid);
    }
  for (let q = n - 1; q >= 0; q -= 1)
    s.gpu.run('edit/triangular_solve_upper', { panel: panelWindow(l, q), inverses, y, x }, { n, q }, grid);
  return x;
}

/** The float32 of every number (`x`), or what it left of it (`x_low`), rows filled up with zeros. */
function uploadPadded(s: Scope, xs: readonly Float64Array[], size: number, part: 'x' | 'x_low'): Tensor {
  const padded = new Float32Array(xs.length * size);
  xs.forEach((x, v) => {
    x.forEach((value, i) => {
      padded[v * size + i] = part === 'x' ? value : value - Math.fround(value);
    });
  });
  return upload(s, padded, [xs.length, size], part);
}
