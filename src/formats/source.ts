/** What every format needs of a file, wherever the file lies: on a disk, in a `Blob` of a page, on a server. */

/** Bytes that can be read from any place. */
export interface ByteSource {
  /** What messages call it: a path, an address. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset` on, in a buffer that holds nothing else and is the caller's to keep.
   *
   * @throws FormatFault when they cannot be had
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** What is wrong with a file, without its name: whoever asked for the file says which one it was. */
export class FormatFault extends Error {}

/** What `work` gives. @throws what `fault` makes of a FormatFault; other errors as they are */
export function faultless<T>(work: Promise<T>, fault: (what: string) => Error): Promise<T> {
  return work.catch((error: unknown) => {
    throw error instanceof FormatFault ? fault(error.message) : error;
  });
}

/** ModelError for a model or a covariance, UsageError for a file the user handed in (an edit file, a dump). */
export type ErrorClass = new (message: string) => Error;

/** SHA-256 over all parts, one after another, in lower-case hex. */
export async function sha256(...parts: readonly (string | Uint8Array)[]): Promise<string> {
  const encoder = new TextEncoder();
  const pieces = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part));
  // One copy: C of a large model has half a gigabyte.
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  const digest = await crypto.subtle.digest('SHA-256', all);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
