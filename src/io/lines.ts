/** Lines of a file of any size; one of them is held at a time. */
import type { FileHandle } from 'node:fs/promises';

const PIECE_BYTES = 2 ** 20;

/**
 * The lines from byte `from` on without their breaks, and where each ends with its break; the last one may be torn.
 *
 * @param keep    bytes of a line that are kept
 * @param tooLong the error for a line that has more; absent: the rest of it is passed over
 */
export async function* linesOf(file: FileHandle, from: number, keep: number, tooLong?: () => Error) {
  const parts: Uint8Array[] = [];
  let room = keep;
  const finish = (end: number, torn: boolean) => {
    room = keep;
    return { bytes: Buffer.concat(parts.splice(0)), end, torn };
  };
  for (let at = from; ;) {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, at);
    const read = piece.subarray(0, bytesRead);
    for (let begin = 0; begin < bytesRead;) {
      const found = read.indexOf(0x0a, begin);
      const stop = found < 0 ? bytesRead : found;
      if (tooLong && stop - begin > room) throw tooLong();
      if (room > 0) parts.push(read.subarray(begin, Math.min(stop, begin + room)));
      room = Math.max(0, room - (stop - begin));
      begin = stop + 1;
      if (found >= 0) yield finish(at + begin, false);
    }
    at += bytesRead;
    if (bytesRead > 0) continue;
    if (parts.length > 0) yield finish(at, true);
    return;
  }
}
