/**
 * The number formats of a checkpoint: F32, F16 (IEEE binary16) and BF16 (the upper half of an F32), little-endian.
 *
 * Widening is exact. Narrowing rounds to nearest, ties to even, as the hardware does. Nothing here depends on a room.
 */
import { UsageError } from './errors.ts';

/** Dtypes a tensor may have to be read as numbers. */
export const FLOAT_DTYPES = ['F32', 'F16', 'BF16'] as const;
export type FloatDtype = (typeof FLOAT_DTYPES)[number];

export function isFloatDtype(dtype: string): dtype is FloatDtype {
  return (FLOAT_DTYPES as readonly string[]).includes(dtype);
}

/** The raw bytes under any typed array, without a copy. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/**
 * Widens a run of whole elements to f32.
 *
 * @param bytes little-endian elements of `dtype`
 * @param out   receives them; made when absent. Its length must be the number of elements
 */
export function widen(
  dtype: FloatDtype,
  bytes: Uint8Array,
  out: Float32Array = new Float32Array(bytes.length / (dtype === 'F32' ? 4 : 2)),
): Float32Array {
  if (dtype === 'F32') bytesOf(out).set(bytes);
  else if (dtype === 'F16') widenF16(halves(bytes), out);
  else widenBF16(halves(bytes), out);
  return out;
}

/**
 * s eeeee mmmmmmmmmm → the same fields at their places in an f32, then · 2¹¹².
 *
 * The product moves the exponent's bias from 15 to 127 and makes subnormal halves normal; both are exact in f32.
 */
function widenF16(h: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) {
    const x = h[i] as number;
    const special = (x & 0x7c00) === 0x7c00 ? 0x7f800000 : 0; // infinity and NaN keep an exponent of all ones
    bits[i] = ((x & 0x8000) << 16) | ((x & 0x7fff) << 13) | special;
  }
  for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) * 2 ** 112;
}

function widenBF16(h: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (h[i] as number) << 16;
}

/**
 * Narrows f32 to F16, round to nearest even. Infinities and NaN stay what they are.
 *
 * @throws UsageError when a finite value would round beyond 65,504, the largest F16: an infinity in a weight is never silent
 */
export function narrowF16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const x = bits[i] as number;
    const magnitude = x & 0x7fffffff;
    let h: number;
    if (magnitude >= 0x7f800000) h = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    else if (magnitude >= 0x477ff000) throw beyondF16(values[i] as number, i);
    // Below 2⁻¹⁴ a half counts multiples of 2⁻²⁴; adding 2⁵² to a double rounds it to an integer, ties to even.
    else if (magnitude < 0x38800000) h = Math.abs(values[i] as number) * 2 ** 24 + 2 ** 52 - 2 ** 52;
    // 112 is the difference of the biases; 0xfff plus the last kept bit carries exactly when rounding goes up.
    else h = (magnitude - (112 << 23) + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    out[i] = ((x >>> 16) & 0x8000) | h;
  }
  return out;
}

/** Narrows f32 to a checkpoint's dtype, as bytes. @throws UsageError as `narrowF16` */
export function narrow(dtype: FloatDtype, values: Float32Array): Uint8Array {
  if (dtype === 'F32') return bytesOf(values);
  return bytesOf(dtype === 'F16' ? narrowF16(values) : narrowBF16(values));
}

/** The upper half of each f32, rounded to nearest even. NaN stays NaN. */
function narrowBF16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const x = bits[i] as number;
    const isNaN = (x & 0x7fffffff) > 0x7f800000;
    out[i] = isNaN ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}

function beyondF16(value: number, index: number): UsageError {
  return new UsageError(
    `narrow to F16: expected values within ±65504, but element ${index} is ${value}. Write this tensor as F32 instead.`,
  );
}

function halves(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 1);
}
