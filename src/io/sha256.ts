/** SHA-256 of a file, streamed: a checkpoint of any size takes one buffer. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { ModelError } from '../errors.ts';

/**
 * Lower-case hex.
 *
 * @throws ModelError if the file cannot be read
 */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  } catch (error) {
    throw new ModelError(
      `${path}: expected a readable file, but ${(error as Error).message}. Fetch it again.`,
    );
  }
  return hash.digest('hex');
}
