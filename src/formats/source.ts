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

/** ModelError for a model or a covariance, UsageError for a file the user handed in (an edit file, a dump). */
export type ErrorClass = new (message: string) => Error;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** SHA-256 over all parts, one after another, in lower-case hex. */
export async function sha256(...parts: readonly (string | Uint8Array)[]): Promise<string> {
  const blob = new Blob(parts as (string | Uint8Array<ArrayBuffer>)[]);
  const digest = await crypto.subtle.digest('SHA-256', await blob.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
