/**
 * Writes a GGUF file: the format of llama.cpp and Ollama, version 3, little-endian.
 *
 *   "GGUF" · u32 version · u64 tensors · u64 pairs · pairs · tensor infos · padding · tensor bytes, each padded
 *
 * A text is u64 length and UTF-8. Dimensions are listed fastest first.
 *
 * @see ggml-org/ggml, docs/gguf.md
 */
import { bytesOf } from '../floats.ts';

export interface GgufTensor {
  readonly name: string;
  /** Slowest first, as everywhere here. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const VERSION = 3;
const ALIGNMENT = 32;
const TYPE = { f32: 6, text: 8 } as const;
/** GGML's own number for F32. */
const GGML_F32 = 0;

/** The bytes of the file in pieces. @param metadata texts, and numbers, which are stored as f32 */
export function* ggufBytes(
  metadata: Readonly<Record<string, string | number>>,
  tensors: readonly GgufTensor[],
): Generator<Uint8Array, void, void> {
  const pairs = Object.entries(metadata);
  const header: Uint8Array[] = [
    new TextEncoder().encode('GGUF'),
    u32(VERSION),
    u64(tensors.length),
    u64(pairs.length),
    ...pairs.flatMap(([key, value]) => {
      const isText = typeof value === 'string';
      return [text(key), u32(isText ? TYPE.text : TYPE.f32), isText ? text(value) : f32(value)];
    }),
  ];
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    header.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(GGML_F32), u64(offset));
    offset += padded(4 * values.length);
  }
  let bytes = 0;
  for (const part of header) {
    yield part;
    bytes += part.length;
  }
  yield new Uint8Array(padded(bytes) - bytes);
  for (const { values } of tensors) {
    yield bytesOf(values);
    yield new Uint8Array(padded(values.byteLength) - values.byteLength);
  }
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

const u32 = (value: number): Uint8Array => bytesOf(Uint32Array.of(value));
const f32 = (value: number): Uint8Array => bytesOf(Float32Array.of(value));
const u64 = (value: number): Uint8Array => bytesOf(BigUint64Array.of(BigInt(value)));

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  const out = new Uint8Array(8 + bytes.length);
  out.set(u64(bytes.length));
  out.set(bytes, 8);
  return out;
}
