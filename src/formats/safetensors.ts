/** Reads and writes safetensors files: the header once and strictly, tensor bytes in pieces when they are asked for. */
import { ModelError, ShapeError } from '../errors.ts';
import { FLOAT_DTYPES, isFloatDtype, widen } from '../floats.ts';
import { type Dtype, ITEM_BYTES, MAX_HEADER_BYTES, parseHeader } from './safetensors-header.ts';
import type { Header, TensorRecord } from './safetensors-header.ts';
import { type ByteSource, type ErrorClass, FormatFault, faultless } from './source.ts';

const CHUNK_BYTES = 16 * 2 ** 20;
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Turns what is wrong into an error that names the file. */
export function safetensorsFault(name: string, Failure: ErrorClass): (what: string) => Error {
  return (what) => new Failure(`safetensors ${name}: ${what}. Fetch or write the file again.`);
}

/**
 * Reads and checks the whole header of a file.
 *
 * @throws Failure naming the file and the tensor when the file is truncated or its header lies
 */
export async function readSafetensors(
  source: ByteSource,
  Failure: ErrorClass = ModelError,
): Promise<Safetensors> {
  const fault = safetensorsFault(source.name, Failure);
  try {
    if (!LITTLE_ENDIAN) throw new FormatFault('tensors are little-endian, this machine is not');
    const { size } = source;
    if (size < 8) throw new FormatFault(`expected at least 8 bytes, the file has ${size}: it is truncated`);
    const length = new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true);
    if (length > MAX_HEADER_BYTES)
      throw new FormatFault(
        `the header claims ${length} bytes, more than the ${MAX_HEADER_BYTES} allowed: no safetensors file`,
      );
    const dataStart = 8 + Number(length);
    if (dataStart > size)
      throw new FormatFault(
        `the header claims ${length} bytes, but the file has only ${size}: it is truncated`,
      );
    const header = parseHeader(await source.read(8, Number(length)), size - dataStart);
    return new Safetensors(source, header, dataStart, fault);
  } catch (error) {
    throw error instanceof FormatFault ? fault(error.message) : error;
  }
}

/** A file whose header was checked. It holds nothing open, so there is nothing to close. */
export class Safetensors {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #source: ByteSource;
  readonly #tensors: ReadonlyMap<string, TensorRecord>;
  readonly #dataStart: number;
  readonly #fault: (what: string) => Error;

  constructor(source: ByteSource, header: Header, dataStart: number, fault: (what: string) => Error) {
    this.name = source.name;
    this.metadata = header.metadata;
    this.#source = source;
    this.#tensors = header.tensors;
    this.#dataStart = dataStart;
    this.#fault = fault;
  }

  /** Names as written in the file, in the order of their bytes. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** @throws Failure if there is no such tensor */
  info(name: string): TensorRecord {
    const record = this.#tensors.get(name);
    if (record) return record;
    const names = this.names();
    const some = names.length > 8 ? [...names.slice(0, 8), '...'] : names;
    throw this.#fault(`expected a tensor "${name}", the file has ${names.length} (${some.join(', ')})`);
  }

  /** All bytes of a tensor. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const { start, bytes } = this.info(name);
    return this.#bytes(start, bytes);
  }

  /**
   * The bytes of a tensor in pieces of `maxBytes`, rounded down to whole elements; the last may be shorter.
   * Each piece is a fresh array, the caller's to keep.
   */
  async *chunks(
    name: string,
    maxBytes: number = CHUNK_BYTES,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    const { dtype, start, bytes } = this.info(name);
    const item = ITEM_BYTES[dtype];
    const step = Math.max(item, Math.floor(maxBytes / item) * item);
    for (let at = 0; at < bytes; at += step) yield await this.#bytes(start + at, Math.min(step, bytes - at));
  }

  /**
   * A tensor as f32: F32 as it is, F16 and BF16 widened.
   *
   * @throws Failure for any other dtype
   */
  async readFloats(name: string): Promise<Float32Array<ArrayBuffer>> {
    const { dtype, bytes } = this.info(name);
    if (!isFloatDtype(dtype))
      throw this.#fault(
        `tensor "${name}": expected one of ${FLOAT_DTYPES.join(', ')} to read as numbers, it is ${dtype}`,
      );
    if (dtype === 'F32') return new Float32Array((await this.read(name)).buffer);
    const out = new Float32Array(bytes / ITEM_BYTES[dtype]);
    let at = 0;
    for await (const piece of this.chunks(name)) {
      const count = piece.length / ITEM_BYTES[dtype];
      widen(dtype, piece, out.subarray(at, at + count));
      at += count;
    }
    return out;
  }

  #bytes(start: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return faultless(this.#source.read(this.#dataStart + start, length), this.#fault);
  }
}

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** The bytes, or a function called when their turn comes, giving them in pieces. */
  readonly data: Uint8Array | (() => AsyncIterable<Uint8Array>);
}

/**
 * The bytes of a file in pieces, one tensor at a time: a whole checkpoint never has to be in memory.
 *
 * Tensors are laid out as the format's own writer does, wide elements first and then by name, so that each starts at a
 * multiple of its element and the same tensors always give the same bytes.
 *
 * @param file what messages call the file
 * @throws ShapeError if a tensor's bytes are not those of its shape, or a name comes twice; whatever a `data` function
 *   throws is passed on
 */
export async function* safetensorsBytes(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array, void, void> {
  const ordered = [...tensors].sort(
    (a, b) => ITEM_BYTES[b.dtype] - ITEM_BYTES[a.dtype] || (a.name < b.name ? -1 : 1),
  );
  yield headerBytes(file, ordered, metadata);
  for (const { name, dtype, shape, data } of ordered) {
    const expected = tensorBytes(dtype, shape);
    let got = 0;
    for await (const piece of data instanceof Uint8Array ? [data] : data()) {
      got += piece.length;
      if (got > expected) break;
      yield piece;
    }
    if (got === expected) continue;
    throw new ShapeError(
      `write ${file}: tensor "${name}" ${dtype} [${shape.join(', ')}] takes ${expected} bytes, but ` +
        `${got > expected ? 'more' : `only ${got}`} came. Give each tensor the bytes of its shape.`,
    );
  }
}

function headerBytes(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const fields = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) fields.set('__metadata__', metadata);
  let start = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === '__metadata__' || fields.has(name))
      throw new ShapeError(`write ${file}: expected every tensor name once, "${name}" is taken. Rename it.`);
    const end = start + tensorBytes(dtype, shape);
    fields.set(name, { dtype, shape, data_offsets: [start, end] });
    start = end;
  }
  // Not JSON.stringify of one object: it would put names that are whole numbers first, and drop `__proto__`.
  const json = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const text = new TextEncoder().encode(`{${json.join(',')}}`);
  const padded = Math.ceil(text.length / 8) * 8; // spaces up to a multiple of 8 keep the tensors aligned
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(text, 8);
  return out;
}

function tensorBytes(dtype: Dtype, shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, ITEM_BYTES[dtype]);
}
