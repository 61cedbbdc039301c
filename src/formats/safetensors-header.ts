/**
 * The JSON header of a safetensors file, read strictly.
 *
 * A file is: u64 length of the header · header · tensor bytes. The header maps a name to `{dtype, shape, data_offsets}`,
 * offsets counted from the end of the header; `__metadata__` maps strings to strings. The tensors must tile the bytes
 * after the header exactly: no gap, no overlap, nothing left over, so that no byte of a file can hide.
 *
 * @see https://github.com/huggingface/safetensors, "Format"
 */
import { isRecord, jsonFrom } from '../json.ts';
import { FormatFault } from './source.ts';

/** Bytes of one element. */
export const ITEM_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;
export type Dtype = keyof typeof ITEM_BYTES;

/** The format allows 100 MB; the largest published headers have one. A longer one is an attack or another kind of file. */
export const MAX_HEADER_BYTES = 32 * 2 ** 20;
const JSON_LIMITS = { depth: 8, values: 1_000_000, uniqueKeys: true } as const;
const MOST_METADATA = 10_000;

export interface TensorRecord {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** First byte, counted from the end of the header. */
  readonly start: number;
}

export interface Header {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, TensorRecord>;
}

/**
 * @param bytes     the header, padding included
 * @param dataBytes bytes of the file after the header
 * @throws FormatFault naming the tensor, what was expected and what came
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number): Header {
  const fault = (found: string): FormatFault => new FormatFault(`the header: expected JSON, found ${found}`);
  const json = jsonFrom(bytes, fault, JSON_LIMITS);
  if (!isRecord(json)) throw new FormatFault('the header must be a JSON object');
  const { __metadata__: metadata = {}, ...entries } = json;
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw new FormatFault('__metadata__ must map strings to strings');
  }
  const { length } = Object.keys(metadata);
  if (length > MOST_METADATA)
    throw new FormatFault(`__metadata__: expected at most ${MOST_METADATA} entries, it has ${length}`);
  const records = Object.entries(entries).map(([name, entry]) => [name, parseEntry(name, entry)] as const);
  records.sort(([, a], [, b]) => a.start - b.start || a.bytes - b.bytes);
  checkTiling(records, dataBytes);
  return { metadata: metadata as Record<string, string>, tensors: new Map(records) };
}

function parseEntry(name: string, entry: unknown): TensorRecord {
  const fault = (what: string): FormatFault => new FormatFault(`tensor "${name}": ${what}`);
  if (!isRecord(entry)) throw fault('expected an object with dtype, shape and data_offsets');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(ITEM_BYTES, dtype)) {
    throw fault(`unknown dtype ${JSON.stringify(dtype)}, known are ${Object.keys(ITEM_BYTES).join(', ')}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fault(`shape must be an array of whole numbers >= 0, got ${JSON.stringify(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fault(`data_offsets must be two whole numbers >= 0, got ${JSON.stringify(offsets)}`);
  }
  const [start, end] = offsets as [number, number];
  if (end < start) throw fault(`data_offsets run backwards: ${start} to ${end}`);
  const wanted = (shape as number[]).reduce((product, n) => product * n, ITEM_BYTES[dtype as Dtype]);
  if (wanted !== end - start) {
    throw fault(`${dtype} [${shape.join(', ')}] takes ${wanted} bytes, but data_offsets span ${end - start}`);
  }
  return { dtype: dtype as Dtype, shape: shape as number[], bytes: wanted, start };
}

/** Tensors in the order of their bytes must follow one another from 0 to the end of the file. */
function checkTiling(records: readonly (readonly [string, TensorRecord])[], dataBytes: number): void {
  let end = 0;
  let before = 'the header';
  for (const [name, { start, bytes }] of records) {
    if (start + bytes > dataBytes) {
      throw new FormatFault(
        `tensor "${name}" ends at byte ${start + bytes}, but only ${dataBytes} bytes follow the header: the file is truncated or lies`,
      );
    }
    if (start < end)
      throw new FormatFault(`tensor "${name}" overlaps ${before}: it starts at ${start}, before ${end}`);
    if (start > end)
      throw new FormatFault(
        `${start - end} bytes between ${before} and tensor "${name}" belong to no tensor`,
      );
    end = start + bytes;
    before = `tensor "${name}"`;
  }
  if (end !== dataBytes)
    throw new FormatFault(`${dataBytes - end} bytes after ${before} belong to no tensor`);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
