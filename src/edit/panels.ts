/**
 * A symmetric matrix [F, F], or a lower triangular one, in half the memory: its lower panels.
 *
 *   panel p = columns 64p … 64p + 63 of rows 64p … 64n − 1,   n = ceil(F / 64) panels, one after another
 *
 * Diagonal blocks are whole (both triangles), blocks above them are not stored, and what lies beyond F is zero. So
 * every size is a multiple of 64, and C of GPT-2 XL (F = 6400) is 83 MB in one binding instead of 164 MB in windows.
 */
import { GpuError, ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty, read, upload, zeros } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Columns of a panel; the shaders have it in them. */
export const BLOCK = 64;

export interface Panels {
  /** Order of the matrix, F. */
  readonly f: number;
  /** Number of panels, n. */
  readonly n: number;
  /** [64 · n (n + 1) / 2, 64] */
  readonly data: Tensor;
}

/**
 * How many panels a matrix has.
 *
 * @throws GpuError where one binding does not hold them: kernels read the whole of a matrix
 */
export function checkedPanels({ gpu }: Pick<Scope, 'gpu'>, f: number): number {
  const n = Math.ceil(f / BLOCK);
  const bytes = 4 * panelRow(n, n) * BLOCK;
  if (bytes <= gpu.maxBindingBytes) return n;
  const mb = (x: number): string => `${Math.round(x / 1e6)} MB`;
  throw new GpuError(
    `covariance: C of keys of ${f} numbers takes ${mb(bytes)} at once, and ${gpu.adapter.description} binds at most ${mb(gpu.maxBindingBytes)}. ` +
      'Use an adapter that binds more, or edit without C: --covariance identity.',
    'limits',
  );
}

/** Panels of an F x F matrix, all zero. */
export function zeroPanels(s: Scope, f: number, label: string): Panels {
  const n = checkedPanels(s, f);
  return { f, n, data: zeros(s, [panelRow(n, n), BLOCK], label) };
}

/** Panels of an F x F matrix, not initialised. */
export function emptyPanels(s: Scope, f: number, label: string): Panels {
  const n = checkedPanels(s, f);
  return { f, n, data: empty(s, [panelRow(n, n), BLOCK], label) };
}

/** First row of panel p in `data`. */
export function panelRow(p: number, n: number): number {
  return BLOCK * (p * n - (p * (p - 1)) / 2);
}

/** The lower panels of a symmetric matrix in rows [F, F]; its upper triangle is looked at in diagonal blocks only. */
export function packSymmetric(rows: Float32Array, f: number): Float32Array<ArrayBuffer> {
  if (rows.length !== f * f)
    throw new ShapeError(`packSymmetric: ${rows.length} numbers for a matrix of order ${f}.`);
  const n = Math.ceil(f / BLOCK);
  const packed = new Float32Array(panelRow(n, n) * BLOCK);
  forEachSegment(f, n, (i, from, to, at) => packed.set(rows.subarray(i * f + from, i * f + to), at));
  return packed;
}

/** The symmetric matrix in rows [F, F], both triangles. */
export function unpackSymmetric(packed: Float32Array, f: number): Float32Array<ArrayBuffer> {
  const n = Math.ceil(f / BLOCK);
  if (packed.length !== panelRow(n, n) * BLOCK)
    throw new ShapeError(`unpackSymmetric: ${packed.length} numbers for a matrix of order ${f}.`);
  const rows = new Float32Array(f * f);
  forEachSegment(f, n, (i, from, to, at) => rows.set(packed.subarray(at, at + to - from), i * f + from));
  for (let i = 0; i < f; i += 1) for (let j = i + 1; j < f; j += 1) rows[i * f + j] = rows[j * f + i] ?? 0;
  return rows;
}

/** A symmetric matrix in rows [F, F] to the GPU. */
export function uploadSymmetric(s: Scope, rows: Float32Array, f: number, label = 'covariance'): Panels {
  const n = Math.ceil(f / BLOCK);
  return { f, n, data: upload(s, packSymmetric(rows, f), [panelRow(n, n), BLOCK], label) };
}

/** A symmetric matrix back as rows [F, F]. */
export async function readSymmetric(gpu: Gpu, { data, f }: Panels): Promise<Float32Array<ArrayBuffer>> {
  return unpackSymmetric(await read(gpu, data), f);
}

/** The diagonal, [F]. */
export function diagonalOf(packed: Float32Array, f: number): Float32Array {
  const n = Math.ceil(f / BLOCK);
  return Float32Array.from({ length: f }, (_, i) => {
    const p = Math.floor(i / BLOCK);
    return packed[(panelRow(p, n) + i - BLOCK * p) * BLOCK + (i - BLOCK * p)] ?? 0;
  });
}

/** Calls `visit(row, first column, end column, index in the packed array)` for every stored stretch of a row. */
function forEachSegment(
  f: number,
  n: number,
  visit: (i: number, from: number, to: number, at: number) => void,
): void {
  for (let p = 0; p < n; p += 1) {
    const from = p * BLOCK;
    const to = Math.min(f, from + BLOCK);
    for (let i = from; i < f; i += 1) visit(i, from, to, (panelRow(p, n) + i - from) * BLOCK);
  }
}
