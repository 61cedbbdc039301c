/**
 * A symmetric matrix [F, F], or a lower triangular one, in half the memory: its lower panels.
 *
 *   panel p = columns 64p … 64p + 63 of rows 64p … 64n − 1,   n = ceil(F / 64) panels, one after another
 *
 * Diagonal blocks are whole (both triangles), blocks above them are not stored, and what lies beyond F is zero. So
 * every size is a multiple of 64, and C of GPT-2 XL (F = 6400) takes 83 MB instead of 164 MB.
 *
 * The panels lie in as many pieces as it takes for a binding to hold each: one on most adapters, five for GPT-J
 * (F = 16,384) where a binding holds 128 MiB. Kernels see one piece at a time, or two windows of whole panels.
 */
import { GpuError, ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty, read, upload, zeros } from '../tensor/tensor.ts';

/** Columns of a panel; the shaders have it in them. */
export const BLOCK = 64;

/** Panels `first` … `end` − 1. */
export interface PanelRange {
  readonly first: number;
  readonly end: number;
}

export interface Piece extends PanelRange {
  /** [rows, 64], panel after panel. */
  readonly data: Tensor;
}

export interface Panels {
  /** Order of the matrix, F. */
  readonly f: number;
  /** Number of panels, n. */
  readonly n: number;
  /** In the order of their panels. */
  readonly pieces: readonly Piece[];
}

/**
 * Which panels share a piece: as many as a binding holds.
 *
 * @throws GpuError where a binding does not hold a single panel
 */
export function pieceRanges({ gpu }: Pick<Scope, 'gpu'>, f: number): PanelRange[] {
  const n = Math.ceil(f / BLOCK);
  const bytes = (first: number, end: number): number => 4 * BLOCK * (panelRow(end, n) - panelRow(first, n));
  if (bytes(0, 1) > gpu.maxBindingBytes)
    throw new GpuError(
      `covariance: 64 columns of C of keys of ${f} numbers take ${bytes(0, 1)} bytes, and ${gpu.adapter.description} binds at most ${gpu.maxBindingBytes}. ` +
        'Use an adapter that binds more, or edit without C: --covariance identity.',
      'limits',
    );
  const ranges: PanelRange[] = [];
  for (let first = 0, end = 1; first < n; first = end, end += 1) {
    while (end < n && bytes(first, end + 1) <= gpu.maxBindingBytes) end += 1;
    ranges.push({ first, end });
  }
  return ranges;
}

function panelsOf(s: Scope, f: number, make: (shape: [number, number]) => Tensor): Panels {
  const n = Math.ceil(f / BLOCK);
  const pieces = pieceRanges(s, f).map(({ first, end }) => ({
    ...{ first, end },
    data: make([panelRow(end, n) - panelRow(first, n), BLOCK]),
  }));
  return { f, n, pieces };
}

/** Panels of an F x F matrix, all zero. */
export function zeroPanels(s: Scope, f: number, label: string): Panels {
  return panelsOf(s, f, (shape) => zeros(s, shape, label));
}

/** Panels of an F x F matrix, not initialised. */
export function emptyPanels(s: Scope, f: number, label: string): Panels {
  return panelsOf(s, f, (shape) => empty(s, shape, label));
}

/** Panels as they lie in a file, to the GPU. */
export function uploadPanels(
  s: Scope,
  packed: Float32Array<ArrayBuffer>,
  f: number,
  label = 'covariance',
): Panels {
  const n = Math.ceil(f / BLOCK);
  checkLength('uploadPanels', packed, panelRow(n, n) * BLOCK, f);
  let at = 0;
  return panelsOf(s, f, (shape) => {
    const from = at;
    at += shape[0] * BLOCK;
    return upload(s, packed.subarray(from, at), shape, label);
  });
}

/** Panels as they lie in a file, back from the GPU. */
export async function readPanels(gpu: Gpu, { n, pieces }: Panels): Promise<Float32Array<ArrayBuffer>> {
  const [whole] = pieces;
  if (whole && pieces.length === 1) return read(gpu, whole.data);
  const packed = new Float32Array(panelRow(n, n) * BLOCK);
  for (const { first, data } of pieces) packed.set(await read(gpu, data), panelRow(first, n) * BLOCK);
  return packed;
}

/** First row of panel p, counted from that of panel 0. */
export function panelRow(p: number, n: number): number {
  return BLOCK * (p * n - (p * (p - 1)) / 2);
}

/** Panels `from` … `to` − 1 of one piece, for a kernel to bind. */
export function panelWindow({ n, pieces }: Panels, from: number, to = from + 1): Tensor {
  const piece = pieces.find(({ first, end }) => first <= from && to <= end);
  if (!piece) throw new ShapeError(`panels: ${from} to ${to - 1} of ${n} do not lie in one piece.`);
  const begin = panelRow(piece.first, n);
  return piece.data.slice(panelRow(from, n) - begin, panelRow(to, n) - begin);
}

/** Piece i; matrices of one order have the same pieces. */
export function pieceData({ pieces }: Panels, i: number): Tensor {
  return (pieces[i] as Piece).data;
}

/** The part of a matrix that lies in a piece: what of the work on all of it falls to one dispatch. */
export function fractionOf({ n }: Panels, { data }: Piece): number {
  return data.rows / panelRow(n, n);
}

function checkLength(where: string, packed: Float32Array, wanted: number, f: number): void {
  if (packed.length !== wanted)
    throw new ShapeError(`${where}: ${packed.length} numbers for a matrix of order ${f}.`);
}

/** The lower panels of a symmetric matrix in rows [F, F]; its upper triangle is looked at in diagonal blocks only. */
export function packSymmetric(rows: Float32Array, f: number): Float32Array<ArrayBuffer> {
  checkLength('packSymmetric', rows, f * f, f);
  const n = Math.ceil(f / BLOCK);
  const packed = new Float32Array(panelRow(n, n) * BLOCK);
  forEachSegment(f, n, (i, from, to, at) => packed.set(rows.subarray(i * f + from, i * f + to), at));
  return packed;
}

/** The symmetric matrix in rows [F, F], both triangles. */
export function unpackSymmetric(packed: Float32Array, f: number): Float32Array<ArrayBuffer> {
  const n = Math.ceil(f / BLOCK);
  checkLength('unpackSymmetric', packed, panelRow(n, n) * BLOCK, f);
  const rows = new Float32Array(f * f);
  forEachSegment(f, n, (i, from, to, at) => rows.set(packed.subarray(at, at + to - from), i * f + from));
  for (let i = 0; i < f; i += 1) for (let j = i + 1; j < f; j += 1) rows[i * f + j] = rows[j * f + i] ?? 0;
  return rows;
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
