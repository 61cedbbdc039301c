/**
 * The one way this project writes a file: whole or not at all.
 *
 * Bytes go to a temporary file in the folder of the target, are flushed to the disk, and the file then takes the
 * target's name in one step, so that a reader sees the old file or the new one and never half of either.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import process from 'node:process';
import { UsageError } from '../errors.ts';
import { safetensorsBytes, type TensorToWrite } from '../formats/safetensors.ts';

export interface WriteOptions {
  /** Stops at the next piece; the temporary file is removed and the signal's reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes `path` through a temporary file beside it, making missing folders.
 *
 * @param path    the file to create or to replace
 * @param content a text, bytes, or bytes in pieces; what these throw is passed on and nothing is left behind
 * @throws UsageError naming the folder, when it cannot be written to or is full
 */
export async function writeAtomic(
  path: string,
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
  { signal }: WriteOptions = {},
): Promise<void> {
  const target = resolve(path);
  const folder = dirname(target);
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  const drop = (): void => rmSync(temporary, { force: true });
  let written = 0;
  const disk = async <T>(step: Promise<T>): Promise<T> =>
    step.catch((error: unknown) => {
      throw diskError(error, target, folder, written);
    });

  signal?.throwIfAborted();
  await disk(mkdir(folder, { recursive: true }));
  const file = await disk(open(temporary, 'wx'));
  process.once('exit', drop); // a second Ctrl-C ends the process without unwinding this function
  try {
    try {
      for await (const bytes of pieces(content)) {
        for (let at = 0; at < bytes.length;) {
          signal?.throwIfAborted();
          const { bytesWritten } = await disk(file.write(bytes, at, Math.min(bytes.length - at, 1 << 30)));
          at += bytesWritten;
          written += bytesWritten;
        }
      }
      signal?.throwIfAborted();
      await disk(file.sync());
    } finally {
      await disk(file.close());
    }
    await disk(rename(temporary, target));
  } catch (error) {
    drop();
    throw error;
  } finally {
    process.off('exit', drop);
  }
  await syncFolder(folder);
}

function pieces(
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === 'string') return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
}

/** Writes a safetensors file, whole or not at all. @throws as `safetensorsBytes` and `writeAtomic` */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: WriteOptions & { readonly metadata?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  await writeAtomic(path, safetensorsBytes(path, tensors, options.metadata), options);
}

/** @throws UsageError naming the folder, when there is none and none can be made */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw diskError(error, folder, dirname(folder), 0);
  });
}

/** Makes the new name itself survive a power cut. Windows cannot open a folder, and needs no such step. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'files of this size are not allowed there',
  EACCES: 'this folder may not be written to',
  EPERM: 'this folder may not be written to',
  EROFS: 'this folder is on a read-only disk',
  ENOTDIR: 'a part of this path is a file, not a folder',
  EEXIST: 'a part of this path is a file, not a folder',
  ENOENT: 'no file can be made in this folder',
  EISDIR: 'the path names a folder, not a file',
};

function diskError(error: unknown, target: string, folder: string, written: number): UsageError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const reason = `${REASONS[code] ?? 'the system refused it'} (${code}${full ? `, after ${written} bytes` : ''})`;
  const advice = full ? 'Free space there, or choose another folder.' : 'Choose a folder you may write to.';
  return new UsageError(
    `write ${target}: expected a writable folder with enough space, but in ${folder} ${reason}. ` +
      `Nothing was written. ${advice}`,
    'unwritable',
    { cause: error },
  );
}
