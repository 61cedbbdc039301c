/** NumPy archives (`.npz`): a ZIP of `.npy` arrays, stored (`numpy.savez`) or deflated (`numpy.savez_compressed`). */
import { unzipSync, zipSync } from 'fflate';
import { UsageError } from '../errors.ts';
import { formatNpy, type NpyArray, parseNpy } from './npy.ts';
import { type ByteSource, FormatFault } from './source.ts';

export function npzFault(name: string): (what: string) => UsageError {
  return (what) => new UsageError(`npz ${name}: ${what}. Save it again with numpy.savez.`, 'bad_npz');
}

/**
 * All arrays of an archive by name, the `.npy` of the members taken off.
 *
 * @throws UsageError naming the file and the member, when it is no archive, damaged, or holds another kind of array
 */
export async function readNpz(source: ByteSource): Promise<Map<string, NpyArray>> {
  try {
    return parseNpz(await source.read(0, source.size));
  } catch (error) {
    throw error instanceof FormatFault ? npzFault(source.name)(error.message) : error;
  }
}

function parseNpz(bytes: Uint8Array): Map<string, NpyArray> {
  const checksums = readChecksums(bytes);
  if (!checksums)
    throw new FormatFault('expected a ZIP archive under 4 GB; it is another kind of file, or truncated');
  let members: Record<string, Uint8Array>;
  try {
    members = unzipSync(bytes);
  } catch (error) {
    throw new FormatFault(`the archive is damaged: ${(error as Error).message}`);
  }
  const arrays = new Map<string, NpyArray>();
  for (const [member, data] of Object.entries(members)) {
    const name = member.replace(/\.npy$/, '');
    if (crc32(data) !== checksums.get(member))
      throw new FormatFault(`"${name}" is damaged: its checksum differs`);
    try {
      arrays.set(name, parseNpy(data));
    } catch (error) {
      throw error instanceof FormatFault ? new FormatFault(`"${name}": ${error.message}`) : error;
    }
  }
  return arrays;
}

/** An archive as `numpy.savez` writes it, stored. The same arrays always give the same bytes. */
export function npzBytes(arrays: Readonly<Record<string, NpyArray>>): Uint8Array {
  const members = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, formatNpy(array)] as const);
  return zipSync(Object.fromEntries(members), { level: 0, mtime: new Date(1980, 0, 1) });
}

/**
 * CRC-32 of each member, from the archive's central directory: fflate does not check them, and a flipped bit in a
 * stored matrix would pass unseen into every edit. Undefined if there is no directory.
 *
 * @see PKWARE APPNOTE.TXT, 4.3.12 and 4.3.16
 */
function readChecksums(bytes: Uint8Array): Map<string, number> | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let end = bytes.length - 22;
  const first = Math.max(0, end - 0xffff); // the record that closes an archive may be followed by a comment
  while (end >= first && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < first) return undefined;
  const checksums = new Map<string, number>();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) return undefined;
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    checksums.set(name, view.getUint32(at + 16, true));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return checksums;
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
