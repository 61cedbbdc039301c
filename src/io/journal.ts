/** The steps of a run as its files hold them: lines of JSON, and blocks of vectors, each of which fits its line. */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { jsonFrom } from '../json.ts';
import type { Vectors } from '../lab/run-journal.ts';

const PIECE_BYTES = 2 ** 20;
const MAGIC = 0x324d4c50; // "PLM2"
/** Far more than a step has: a count beyond it is no count. */
const MOST_VECTORS = 1024;

/** magic, step, number of vectors, their lengths, CRC-32 of all before and after it and of the line, then the numbers. All little-endian. */
export function encodeBlock(step: number, line: Uint8Array, vectors: Vectors): Uint8Array {
  const head = bytesOf(Uint32Array.of(MAGIC, step, vectors.length, ...vectors.map(({ length }) => length)));
  const body = Buffer.concat(vectors.map(bytesOf));
  return Buffer.concat([head, bytesOf(Uint32Array.of(checksum([head, line, body]))), body]);
}

interface Block {
  readonly lengths: readonly number[];
  /** Where its numbers begin and end. */
  readonly from: number;
  readonly end: number;
}

/** The vectors of a block; undefined where they end before they should. */
export async function readVectors(
  file: FileHandle,
  { lengths, from, end }: Block,
): Promise<Vectors | undefined> {
  const body = await readWords(file, from, (end - from) / 4);
  let first = 0;
  return body && lengths.map((n) => new Float32Array(body.buffer, 4 * ((first += n) - n), n));
}

/** The block of that step and line; undefined where no whole one stands. Its numbers are read in pieces. */
export async function findBlock(
  file: FileHandle,
  at: number,
  step: number,
  line: Uint8Array,
): Promise<Block | undefined> {
  const start = await readWords(file, at, 3);
  const count = start?.[2] ?? 0;
  if (!start || start[0] !== MAGIC || start[1] !== step || count > MOST_VECTORS) return undefined;
  const rest = await readWords(file, at + 12, count + 1);
  if (!rest) return undefined;
  const lengths = [...rest.subarray(0, count)];
  const from = at + 16 + 4 * count;
  const end = from + 4 * lengths.reduce((all, n) => all + n, 0);
  if (end > (await file.stat()).size) return undefined;
  let crc = checksum([bytesOf(start), bytesOf(rest.subarray(0, count)), line]);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, end - from));
  for (let read = from; read < end;) {
    const { bytesRead } = await file.read(piece, 0, Math.min(piece.length, end - read), read);
    if (bytesRead === 0) return undefined;
    crc = checksum([piece.subarray(0, bytesRead)], crc);
    read += bytesRead;
  }
  return crc === rest[count] ? { lengths, from, end } : undefined;
}

/** CRC-32 going on from `crc`. For some empty arrays Node's `crc32(empty, crc)` is 0, not `crc`. */
function checksum(parts: readonly Uint8Array[], crc = 0): number {
  return parts.reduce((sum, part) => (part.length === 0 ? sum : crc32(part, sum)), crc);
}

async function readWords(
  file: FileHandle,
  at: number,
  count: number,
): Promise<Uint32Array<ArrayBuffer> | undefined> {
  const words = new Uint32Array(count);
  if (count === 0) return words;
  const { bytesRead } = await file.read(bytesOf(words), 0, 4 * count, at);
  return bytesRead === 4 * count ? words : undefined;
}

/** A number that JSON does not have, as an object. */
export function written(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? { number: String(value) } : value;
}

const NON_FINITE = v.strictObject({ number: v.picklist(['NaN', 'Infinity', '-Infinity']) });

function revived(_: string, value: unknown): unknown {
  return v.is(NON_FINITE, value) ? Number(value.number) : value;
}

/** A head or a line, checked. @throws UsageError for what the schema does not allow */
export function readForm<T>(schema: v.GenericSchema, text: Uint8Array, path: string, what: string): T {
  const json = jsonFrom(text, (came) => damaged(path, `JSON in ${what}`, came), { reviver: revived });
  const found = v.safeParse(schema, json);
  if (found.success) return found.output as T;
  const [issue] = found.issues;
  const where = v.getDotPath(issue);
  throw damaged(
    path,
    `${issue.expected} in ${what}${where === null ? '' : `, ${where}`}`,
    issue.received.slice(0, 60),
  );
}

export function damaged(path: string, expected: string, found: string): UsageError {
  return new UsageError(
    `${path}: expected ${expected}, found ${found}: the file was changed. Begin again in another folder.`,
    'damaged_run',
  );
}
