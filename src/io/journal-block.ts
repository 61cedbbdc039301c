/** A block of a journal: the vectors of one step with a checksum, so that a torn one is known. */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { bytesOf } from '../floats.ts';

export type Vectors = readonly Float32Array<ArrayBuffer>[];

const MAGIC = 0x314d4c50; // "PLM1"
/** Far more than a step has: a count beyond it is no count. */
const MOST_VECTORS = 64;

/** magic, step, number of vectors, their lengths, CRC-32 of all before and after it, then the numbers. All little-endian. */
export function encodeBlock(step: number, vectors: Vectors): Uint8Array {
  const words = [MAGIC, step, vectors.length, ...vectors.map((vector) => vector.length)];
  const head = bytesOf(Uint32Array.from(words));
  const body = Buffer.concat(vectors.map(bytesOf));
  const sum = bytesOf(Uint32Array.of(checksum(head, body)));
  return Buffer.concat([head, sum, body]);
}

/** undefined where no whole block stands: at the end, or where it is torn. */
export async function readBlock(
  file: FileHandle,
  at: number,
): Promise<{ vectors: Vectors; step: number; end: number } | undefined> {
  const start = await readWords(file, at, 3);
  if (!start || start[0] !== MAGIC) return undefined;
  const [, step = 0, count = 0] = start;
  if (count > MOST_VECTORS) return undefined;
  const lengths = await readWords(file, at + 12, count + 1);
  if (!lengths) return undefined;
  const sum = lengths[count];
  const total = lengths.subarray(0, count).reduce((all, n) => all + n, 0);
  const from = at + 16 + 4 * count;
  if (from + 4 * total > (await file.stat()).size) return undefined;
  const body = await readWords(file, from, total);
  const words = Uint32Array.of(MAGIC, step, count, ...lengths.subarray(0, count));
  if (!body || checksum(bytesOf(words), bytesOf(body)) !== sum) return undefined;
  const vectors: Float32Array<ArrayBuffer>[] = [];
  let first = 0;
  for (const n of lengths.subarray(0, count)) {
    vectors.push(new Float32Array(body.buffer, 4 * first, n));
    first += n;
  }
  return { vectors, step, end: from + 4 * total };
}

/** CRC-32 of both. In one piece: for some empty arrays Node's `crc32(empty, start)` is 0, not `start`. */
function checksum(head: Uint8Array, body: Uint8Array): number {
  return crc32(Buffer.concat([head, body]));
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
