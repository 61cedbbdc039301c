/** Reads safetensors files: the header once and strictly, tensor bytes straight from the file when asked for. */
import { type FileHandle, open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { ModelError } from '../errors.ts';
import { FLOAT_DTYPES, isFloatDtype, widen } from '../floats.ts';
import {
  HeaderFault,
  ITEM_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  type Header,
  type TensorRecord,
} from './safetensors-header.ts';

/** ModelError for a model or a covariance, UsageError for a file the user handed in (an edit file, a dump). */
export type FileError = new (message: string) => Error;

const CHUNK_BYTES = 16 * 2 ** 20;

/**
 * Opens a file and checks its whole header.
 *
 * @throws Failure naming the file and the tensor when the file is missing, truncated, or its header lies
 */
export async function openSafetensors(
  path: string,
  Failure: FileError = ModelError,
): Promise<SafetensorsFile> {
  const fault = (what: string): Error =>
    new Failure(`safetensors ${path}: ${what}. Fetch or write the file again.`);
  if (endianness() !== 'LE') throw fault('tensors are little-endian, this machine is not');
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw fault(`expected a readable file, but it cannot be opened (${error.code})`);
  });
  try {
    const { size, mtimeMs } = await file.stat();
    if (size < 8) throw fault(`expected at least 8 bytes, the file has ${size}: it is truncated`);
    const prefix = Buffer.alloc(8);
    await readFully(file, prefix, 0);
    const length = prefix.readBigUInt64LE();
    if (length > MAX_HEADER_BYTES) {
      throw fault(
        `the header claims ${length} bytes, more than the ${MAX_HEADER_BYTES} allowed: no safetensors file`,
      );
    }
    if (8n + length > BigInt(size)) {
      throw fault(`the header claims ${length} bytes, but the file has only ${size}: it is truncated`);
    }
    const bytes = new Uint8Array(Number(length));
    await readFully(file, bytes, 8);
    const header = parseHeader(decode(bytes), size - 8 - bytes.length);
    return new SafetensorsFile(path, header, 8 + bytes.length, { size, mtimeMs }, fault);
  } catch (error) {
    if (error instanceof HeaderFault || isErrno(error)) throw fault((error as Error).message);
    throw error;
  } finally {
    await file.close();
  }
}

/** A checked file. It holds no open handle, so there is nothing to close. */
export class SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #tensors: ReadonlyMap<string, TensorRecord>;
  readonly #dataStart: number;
  readonly #stamp: { size: number; mtimeMs: number };
  readonly #fault: (what: string) => Error;

  constructor(
    path: string,
    header: Header,
    dataStart: number,
    stamp: { size: number; mtimeMs: number },
    fault: (what: string) => Error,
  ) {
    this.path = path;
    this.metadata = header.metadata;
    this.#tensors = header.tensors;
    this.#dataStart = dataStart;
    this.#stamp = stamp;
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
    const out = new Uint8Array(bytes);
    await this.#withFile((file) => readFully(file, out, this.#dataStart + start));
    return out;
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
    for (let at = 0; at < bytes; at += step) {
      const piece = new Uint8Array(Math.min(step, bytes - at));
      await this.#withFile((file) => readFully(file, piece, this.#dataStart + start + at));
      yield piece;
    }
  }

  /**
   * A tensor as f32: F32 as it is, F16 and BF16 widened.
   *
   * @throws Failure for any other dtype
   */
  async readFloats(name: string): Promise<Float32Array<ArrayBuffer>> {
    const { dtype, bytes } = this.info(name);
    if (!isFloatDtype(dtype)) {
      throw this.#fault(
        `tensor "${name}": expected one of ${FLOAT_DTYPES.join(', ')} to read as numbers, it is ${dtype}`,
      );
    }
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

  /** Opens the file again and refuses one that is no longer the file whose header was checked. */
  async #withFile(use: (file: FileHandle) => Promise<void>): Promise<void> {
    const file = await open(this.path, 'r').catch((error: NodeJS.ErrnoException) => {
      throw this.#fault(`it cannot be opened any more (${error.code})`);
    });
    try {
      const { size, mtimeMs } = await file.stat();
      if (size !== this.#stamp.size || mtimeMs !== this.#stamp.mtimeMs)
        throw this.#fault('it changed while in use');
      await use(file);
    } catch (error) {
      throw isErrno(error) ? this.#fault((error as Error).message) : error;
    } finally {
      await file.close();
    }
  }
}

/** Fills `out` from `position`; a read may return less than asked for, and at most 2 GiB. */
async function readFully(file: FileHandle, out: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < out.length;) {
    const { bytesRead } = await file.read(out, at, Math.min(out.length - at, 2 ** 30), position + at);
    if (bytesRead === 0)
      throw new HeaderFault(`it ends at byte ${position + at}, before what its header lists`);
    at += bytesRead;
  }
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new HeaderFault('the header is not UTF-8');
  }
}

function isErrno(error: unknown): boolean {
  return error instanceof Error && 'code' in error && 'syscall' in error;
}
