/**
 * NumPy archives (`.npz`): a ZIP of `.npy` arrays, stored (`numpy.savez`) or deflated (`numpy.savez_compressed`).
 *
 * A few bytes can unpack to gigabytes. So a member is unpacked only when it is asked for, its own header is looked at
 * first, and not a byte more is made of it than that header, the archive and the caller agree on.
 *
 * @see PKWARE APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16
 */
import { Inflate, zipSync } from 'fflate';
import { UsageError } from '../errors.ts';
import { formatNpy, type NpyArray, type NpyHeader, parseNpy, parseNpyHeader } from './npy.ts';
import { type ByteSource, FormatFault, faultless } from './source.ts';

/** Read at a time: deflated, at most a thousand times as much comes out of it. */
const CHUNK_BYTES = 2 ** 16;
/** An archive of NumPy has a few members. */
const DIRECTORY_BYTES = 2 ** 20;

export function npzFault(name: string): (what: string) => UsageError {
  return (what) => new UsageError(`npz ${name}: ${what}. Save it again with numpy.savez.`, 'bad_npz');
}

interface Member {
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly unpacked: number;
  /** Where its local header lies. */
  readonly offset: number;
}

export interface NpzArchive {
  /** The `.npy` of the members taken off. */
  readonly names: readonly string[];
  /** What a member is; no more of it is unpacked than that takes. */
  readonly header: (name: string) => Promise<NpyHeader>;
  /** @param most bytes of its numbers */
  readonly read: (name: string, most: number, signal?: AbortSignal) => Promise<NpyArray>;
}

/**
 * Opens an archive; its functions throw as it does.
 *
 * @throws UsageError naming the file and the member, when it is no archive, damaged, or holds another kind of array
 */
export async function openNpz(source: ByteSource): Promise<NpzArchive> {
  const within = async <T>(name: string, run: () => Promise<T>): Promise<T> =>
    faultless(run(), (what) => npzFault(source.name)(name === '' ? what : `"${name}": ${what}`));
  const members = await within('', () => readDirectory(source));
  const member = (name: string): Member => {
    const found = members.get(name);
    if (found) return found;
    throw new FormatFault(`there is no such member, but ${[...members.keys()].join(', ') || 'none'}`);
  };
  const headerOf = async (found: Member): Promise<NpyHeader> =>
    parseNpyHeader(await unpack(source, found, Math.min(found.unpacked, CHUNK_BYTES)));
  return {
    names: [...members.keys()],
    header: (name) => within(name, () => headerOf(member(name))),
    read: (name, most, signal) =>
      within(name, async () => {
        const found = member(name);
        const { bytes, start } = await headerOf(found);
        if (bytes > most) throw new FormatFault(`expected at most ${most} bytes, it has ${bytes}`);
        if (start + bytes !== found.unpacked)
          throw new FormatFault(`its header says ${start + bytes} bytes, the archive ${found.unpacked}`);
        const unpacked = await unpack(source, found, found.unpacked, signal);
        if (crc32(unpacked) !== found.crc) throw new FormatFault('it is damaged: its checksum differs');
        return parseNpy(unpacked);
      }),
  };
}

/** The archive's central directory. fflate reads whole archives only, and checks no CRC. */
async function readDirectory(source: ByteSource): Promise<Map<string, Member>> {
  const none = 'expected a ZIP archive under 4 GB; it is another kind of file, or truncated';
  // The record that closes an archive may be followed by a comment.
  const tail = await source.read(Math.max(0, source.size - 22 - 0xffff), Math.min(source.size, 22 + 0xffff));
  const last = new DataView(tail.buffer);
  let end = tail.length - 22;
  while (end >= 0 && last.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new FormatFault(none);
  const [size, start] = [last.getUint32(end + 12, true), last.getUint32(end + 16, true)];
  if (start + size > source.size) throw new FormatFault(none);
  if (size > DIRECTORY_BYTES) throw new FormatFault('it has more members than an archive of NumPy');

  const bytes = await source.read(start, size);
  const view = new DataView(bytes.buffer);
  const members = new Map<string, Member>();
  let at = 0;
  for (let left = last.getUint16(end + 10, true); left > 0; left--) {
    if (at + 46 > size || view.getUint32(at, true) !== 0x02014b50) throw new FormatFault(none);
    const long = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + long)).replace(/\.npy$/, '');
    if (members.has(name)) throw new FormatFault(`it has "${name}" twice`);
    members.set(name, {
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      unpacked: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    });
    at += 46 + long + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return members;
}

/** The first `wanted` bytes of a member. Between two pieces others have their turn: a signal among them. */
async function unpack(
  source: ByteSource,
  { method, packed, offset }: Member,
  wanted: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (offset + 30 > source.size)
    throw new FormatFault('it is damaged: it lies beyond the end of the archive');
  const local = new DataView((await source.read(offset, 30)).buffer);
  const start = offset + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  if (local.getUint32(0, true) !== 0x04034b50 || start + packed > source.size)
    throw new FormatFault('it is damaged: the archive is truncated, or its directory lies');
  if (method !== 0 && method !== 8)
    throw new FormatFault(`expected it stored or deflated, it is packed by method ${method}`);
  if (method === 0 && packed < wanted)
    throw new FormatFault('it is damaged: it is shorter than the archive says');
  const out = new Uint8Array(wanted);
  let have = 0;
  const take = (piece: Uint8Array): void => {
    const part = piece.subarray(0, wanted - have);
    out.set(part, have);
    have += part.length;
  };
  const inflate = new Inflate(take);
  for (let at = 0; at < packed && have < wanted; at += CHUNK_BYTES) {
    signal?.throwIfAborted();
    const piece = await source.read(start + at, Math.min(CHUNK_BYTES, packed - at));
    if (method === 0) take(piece);
    else push(inflate, piece, at + CHUNK_BYTES >= packed);
  }
  if (have < wanted) throw new FormatFault('it is damaged: it is shorter than the archive says');
  return out;
}

function push(inflate: Inflate, piece: Uint8Array, isLast: boolean): void {
  try {
    inflate.push(piece, isLast);
  } catch (error) {
    throw new FormatFault(`it is damaged: ${(error as Error).message}`);
  }
}

/** An archive as `numpy.savez` writes it, stored. The same arrays always give the same bytes. */
export function npzBytes(arrays: Readonly<Record<string, NpyArray>>): Uint8Array {
  const members = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, formatNpy(array)] as const);
  return zipSync(Object.fromEntries(members), { level: 0, mtime: new Date(1980, 0, 1) });
}

/** CRC-32 of each byte alone, polynomial 0xedb88320. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});

/** CRC-32, as ZIP archives have it. @see PKWARE APPNOTE.TXT, 4.4.7 */
function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 255] as number);
  return ~crc >>> 0;
}
