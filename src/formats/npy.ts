/**
 * One NumPy array as bytes (`.npy` versions 1 to 3): little-endian, C order, the dtypes that ROME's statistics use.
 *
 * @see numpy.lib.format
 */
import { FormatFault } from './source.ts';

export type NpyArray = { readonly shape: readonly number[] } & (
  | { readonly dtype: '<f4'; readonly data: Float32Array }
  | { readonly dtype: '<f8'; readonly data: Float64Array }
  | { readonly dtype: '<i4'; readonly data: Int32Array }
  | { readonly dtype: '<i8'; readonly data: BigInt64Array }
  /** Unicode strings; their common width is stored in the file only. */
  | { readonly dtype: '<U'; readonly data: readonly string[] }
);

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY

/** What an array is, before a byte of it is read. */
export interface NpyHeader {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where the numbers begin. */
  readonly start: number;
  /** Of the numbers. */
  readonly bytes: number;
}

/** @throws FormatFault saying what was expected and what came */
export function parseNpy(bytes: Uint8Array): NpyArray {
  const header = parseNpyHeader(bytes);
  return readData(header, bytes.subarray(header.start));
}

/**
 * @param bytes the file, or its beginning
 * @throws FormatFault saying what was expected and what came
 */
export function parseNpyHeader(bytes: Uint8Array): NpyHeader {
  if (bytes.length < 10 || MAGIC.some((byte, i) => bytes[i] !== byte))
    throw new FormatFault('not a .npy array');
  const version = bytes[6] as number;
  if (version < 1 || version > 3) throw new FormatFault(`expected .npy version 1 to 3, got ${version}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const start = version === 1 ? 10 : 12;
  if (bytes.length < start) throw new FormatFault('the header is truncated');
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (start + length > bytes.length) throw new FormatFault('the header is truncated');
  const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(
    bytes.subarray(start, start + length),
  );
  const { dtype, shape } = parseDescription(text);
  const count = shape.reduce((product, n) => product * n, 1);
  return { dtype, shape, start: start + length, bytes: count * itemBytes(dtype) };
}

function itemBytes(dtype: string): number {
  const width = /^<U(\d+)$/.exec(dtype)?.[1];
  const item = width === undefined ? { '<f4': 4, '<f8': 8, '<i4': 4, '<i8': 8 }[dtype] : 4 * Number(width);
  if (item !== undefined) return item;
  throw new FormatFault(`expected little-endian f4, f8, i4, i8 or text (<U), got dtype ${dtype}`);
}

/** The header is a Python dict literal; its keys may come in any order. */
function parseDescription(text: string): { dtype: string; shape: number[] } {
  const dtype = /'descr'\s*:\s*'([^']*)'/.exec(text)?.[1];
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(text)?.[1];
  if (dtype === undefined || fortran === undefined || shape === undefined) {
    throw new FormatFault(
      `expected a header with a plain dtype, fortran_order and shape, got ${text.trim()}`,
    );
  }
  const sizes = shape
    .split(',')
    .filter((size) => size.trim() !== '')
    .map(Number);
  if (fortran === 'True' && sizes.length > 1) {
    throw new FormatFault('expected C order, got Fortran order: save numpy.ascontiguousarray(x)');
  }
  return { dtype, shape: sizes };
}

function readData({ dtype, shape, bytes }: NpyHeader, raw: Uint8Array): NpyArray {
  if (raw.length !== bytes) {
    throw new FormatFault(
      `${dtype} [${shape.join(', ')}] takes ${bytes} bytes, but ${raw.length} follow the header`,
    );
  }
  const count = shape.reduce((product, n) => product * n, 1);
  const aligned = raw.byteOffset % 8 === 0 ? raw : raw.slice();
  const at = [aligned.buffer as ArrayBuffer, aligned.byteOffset, count] as const;
  switch (dtype) {
    case '<f4':
      return { dtype, shape, data: new Float32Array(...at) };
    case '<f8':
      return { dtype, shape, data: new Float64Array(...at) };
    case '<i4':
      return { dtype, shape, data: new Int32Array(...at) };
    case '<i8':
      return { dtype, shape, data: new BigInt64Array(...at) };
    default:
      return { dtype: '<U', shape, data: readStrings(raw, count, itemBytes(dtype)) };
  }
}

/** UTF-32, each string padded with zeros to the common width. */
function readStrings(raw: Uint8Array, count: number, item: number): string[] {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  return Array.from({ length: count }, (_, i) => {
    const points = Array.from({ length: item / 4 }, (_, j) => view.getUint32(i * item + 4 * j, true));
    if (points.some((point) => point > 0x10ffff))
      throw new FormatFault('a string holds a code point beyond Unicode');
    return String.fromCodePoint(...points).replace(/\0+$/, '');
  });
}

/** Version 1, as numpy writes it: the data starts at a multiple of 64. */
export function formatNpy(array: NpyArray): Uint8Array {
  const [dtype, data] = array.dtype === '<U' ? formatStrings(array.data) : [array.dtype, array.data];
  const { shape } = array;
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const out = new Uint8Array(10 + length + data.byteLength);
  out.set([...MAGIC, 1, 0, length & 0xff, length >> 8]);
  out.set(new TextEncoder().encode(`${text.padEnd(length - 1)}\n`), 10);
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + length);
  return out;
}

function formatStrings(strings: readonly string[]): [string, Uint32Array] {
  const points = strings.map((text) => Array.from(text, (character) => character.codePointAt(0) as number));
  const width = Math.max(1, ...points.map((p) => p.length)); // numpy has no <U0
  const data = new Uint32Array(points.length * width);
  points.forEach((p, i) => data.set(p, i * width));
  return [`<U${width}`, data];
}
