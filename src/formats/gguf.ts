/**
 * GGUF, the file of llama.cpp: metadata, and tensors in blocks of few bits.
 *
 * `@huggingface/gguf` reads the header, through a `fetch` that reads our source and no network; data is read here, in
 * pieces. All that the header says of the data is checked before a byte of it is read.
 */
import { GGMLQuantizationType, gguf } from '@huggingface/gguf';
import { BLOCKS, isBlockType, unitOf } from '../blocks.ts';
import { ModelError } from '../errors.ts';
import { FLOAT_DTYPES, isFloatDtype } from '../floats.ts';
import { type ByteSource, FormatFault, faultless } from './source.ts';

export interface GgufTensor {
  /** F32, F16, BF16, or the name of a block format. */
  readonly dtype: string;
  /** As everywhere, the last dimension the fastest; the file lists them the other way round. */
  readonly shape: readonly number[];
  /** Where its bytes begin in the file, and how many they are. */
  readonly start: number;
  readonly bytes: number;
}

const READ = [...FLOAT_DTYPES, ...Object.keys(BLOCKS)].join(', ');

/** A file whose header was checked. It holds nothing open, so there is nothing to close. */
export class Gguf {
  readonly name: string;
  /** What it says of itself: numbers, texts, true or false, and lists of them. */
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly #source: ByteSource;
  readonly #tensors: ReadonlyMap<string, GgufTensor>;

  constructor(source: ByteSource, metadata: Gguf['metadata'], tensors: ReadonlyMap<string, GgufTensor>) {
    this.name = source.name;
    this.metadata = metadata;
    this.#source = source;
    this.#tensors = tensors;
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** @throws ModelError if there is no such tensor */
  info(name: string): GgufTensor {
    const found = this.#tensors.get(name);
    if (found) return found;
    throw this.fault(`expected a tensor "${name}", there is none`);
  }

  /** Whole blocks, `length` bytes from byte `from` of a tensor on. */
  async read(name: string, from: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { start } = this.info(name);
    return faultless(this.#source.read(start + from, length), (what) => this.fault(what));
  }

  /** A number of the metadata. @throws ModelError where it is neither there nor has a substitute, or is none */
  number(field: string, otherwise?: number): number {
    const value = this.metadata.get(field) ?? otherwise;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number === 'number' && Number.isFinite(number)) return number;
    throw this.wrong(field, 'a number', value);
  }

  text(field: string, otherwise?: string): string {
    const value = this.metadata.get(field) ?? otherwise;
    if (typeof value === 'string') return value;
    throw this.wrong(field, 'a text', value);
  }

  flag(field: string, otherwise: boolean): boolean {
    const value = this.metadata.get(field) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.wrong(field, 'true or false', value);
  }

  list<T extends string | number>(field: string, kind: 'string' | 'number', otherwise?: T[]): readonly T[] {
    const value = this.metadata.get(field) ?? otherwise;
    if (Array.isArray(value) && value.every((entry) => typeof entry === kind)) return value as T[];
    throw this.wrong(field, `a list of ${kind === 'string' ? 'texts' : 'numbers'}`, value);
  }

  /** The error for a field of the metadata. */
  wrong(field: string, expected: string, value: unknown, advice?: string): ModelError {
    // Whole numbers of 64 bits are no JSON.
    const json = JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? Number(one) : one));
    return this.fault(`${field}: expected ${expected}, found ${(json ?? 'nothing').slice(0, 80)}`, advice);
  }

  fault(what: string, advice?: string): ModelError {
    return ggufFault(this.name, what, advice);
  }
}

export function ggufFault(name: string, what: string, advice = 'Fetch the file again.'): ModelError {
  return new ModelError(`gguf ${name}: ${what}. ${advice}`, 'bad_gguf');
}

/** @throws ModelError naming the file and the tensor when the file is truncated, its header lies or a type is not read */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  const { name, size } = source;
  const header = await gguf('http://local/', { fetch: fetchFrom(source) }).catch((error: unknown) => {
    if (error instanceof FormatFault) throw ggufFault(name, error.message);
    const truncated = error instanceof RangeError ? ' It is truncated, or damaged' : '';
    throw ggufFault(name, `expected the header of a GGUF file, but ${(error as Error).message}${truncated}`);
  });
  if (!header.littleEndian)
    throw ggufFault(name, 'expected little-endian numbers, they are big-endian', 'Take another file.');
  const data = Number(header.tensorDataOffset);
  if (!(header.tensorInfoByteRange[1] <= size))
    throw ggufFault(name, `its header goes on beyond the ${size} bytes that it has: it is truncated`);
  const tensors = new Map<string, GgufTensor>();
  for (const { name: tensor, shape, dtype, offset } of header.tensorInfos) {
    if (tensors.has(tensor)) throw ggufFault(name, `the tensor "${tensor}" is there twice`);
    const type = GGMLQuantizationType[dtype] ?? `${dtype}`;
    tensors.set(
      tensor,
      checked(source, tensor, { type, shape: shape.map(Number), start: data + Number(offset) }),
    );
  }
  checkOverlap(name, tensors);
  return new Gguf(source, new Map(Object.entries(header.metadata)), tensors);
}

function checked(
  { name, size }: ByteSource,
  tensor: string,
  { type, shape, start }: { type: string; shape: readonly number[]; start: number },
): GgufTensor {
  const fault = (what: string, advice?: string): ModelError =>
    ggufFault(name, `tensor "${tensor.slice(0, 80)}": ${what}`, advice);
  if (!isFloatDtype(type) && !isBlockType(type))
    throw fault(
      `expected one of the types ${READ}, it is ${type}`,
      'Take a file of the same model in one of these, such as Q8_0 or Q4_K_M.',
    );
  const { elements, bytes: unit } = unitOf(type);
  const [columns = 1] = shape;
  const n = shape.reduce((product, length) => product * length, 1);
  if (shape.length === 0 || !Number.isSafeInteger(n) || n < 1 || columns % elements !== 0)
    throw fault(
      `expected rows of whole blocks of ${elements}, it is ${type} [${[...shape].reverse().join(', ')}]`,
    );
  const bytes = (n / elements) * unit;
  if (!Number.isSafeInteger(start + bytes) || start + bytes > size)
    throw fault(`it ends at byte ${start + bytes}, but the file has ${size}: it is truncated`);
  return { dtype: type, shape: [...shape].reverse(), start, bytes };
}

function checkOverlap(name: string, tensors: ReadonlyMap<string, GgufTensor>): void {
  const byStart = [...tensors].sort(([, a], [, b]) => a.start - b.start);
  byStart.forEach(([tensor, { start }], i) => {
    const before = byStart[i - 1];
    if (before && before[1].start + before[1].bytes > start)
      throw ggufFault(name, `the tensors "${before[0]}" and "${tensor}" overlap`);
  });
}

/** What the header's reader takes for the network: ranges of bytes, out of our source. */
function fetchFrom(source: ByteSource): typeof fetch {
  return async (_, init) => {
    const range = new Headers(init?.headers).get('range');
    const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
    const from = Math.min(Number(first), source.size); // the reader looks ahead; where the header ends is checked
    const to = Math.min(Number(last) + 1, source.size);
    const headers = { 'content-range': `bytes ${from}-${to - 1}/${source.size}` };
    return new Response(await source.read(from, to - from), { status: 206, headers });
  };
}
