/**
 * The one way this project writes a file: whole or not at all.
 *
 * Bytes go to a temporary file in the folder of the target, are flushed to the disk, and the file then takes the
 * target's name in one step, so that a reader sees the old file or the new one and never half of either. A symbolic link
 * stays one: what it leads to is written. A device or a FIFO has no whole: bytes go into it as they come.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants, openSync, rmSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { Socket } from 'node:net';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { UsageError } from '../errors.ts';
import { safetensorsBytes, type TensorToWrite } from '../formats/safetensors.ts';
import { isSystemError } from './file.ts';
import { placeOf } from './place.ts';

export interface WriteOptions {
  /** Stops at the next piece; the temporary file is removed and the signal's reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

type Content = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes `path` through a temporary file beside it, making missing folders.
 *
 * @param path    the file to create or to replace, or a device or FIFO to write into
 * @param content a text, bytes, or bytes in pieces; what these throw is passed on and nothing is left behind
 * @throws UsageError naming the folder, when it cannot be written to or is full
 */
export async function writeAtomic(
  path: string,
  content: Content,
  { signal }: WriteOptions = {},
): Promise<void> {
  signal?.throwIfAborted();
  const place = await placeOf(path);
  if (place.kind === 'fifo' || place.kind === 'device') return pour(path, place.kind, content, signal);
  const target = place.path;
  const folder = dirname(target);
  const disk = diskOf(target);
  if (place.kind !== 'file' && place.kind !== 'nothing')
    throw diskError({ code: place.kind === 'folder' ? 'EISDIR' : 'ENXIO' }, target);
  await disk(mkdir(folder, { recursive: true }));
  await removeLeftovers(target);
  await withTemporary(target, async (temporary) => {
    const file = await disk(open(temporary, 'wx', place.mode));
    try {
      await writeAll(file, content, disk, signal);
      signal?.throwIfAborted();
      await disk(file.sync());
    } finally {
      await disk(file.close());
    }
    await disk(rename(temporary, target));
  });
  await syncFolder(folder);
}

/** Names the errors of the system while one file is written. */
type Disk = (<T>(step: Promise<T>) => Promise<T>) & { written: number };

function diskOf(target: string): Disk {
  const disk = async <T>(step: Promise<T>): Promise<T> =>
    step.catch((error: unknown) => {
      throw diskError(error, target, disk.written);
    });
  disk.written = 0;
  return disk;
}

async function writeAll(
  file: FileHandle,
  content: Content,
  disk: Disk,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const bytes of pieces(content)) {
    for (let at = 0; at < bytes.length;) {
      signal?.throwIfAborted();
      const { bytesWritten } = await disk(file.write(bytes, at, Math.min(bytes.length - at, 1 << 30)));
      at += bytesWritten;
      disk.written += bytesWritten;
    }
  }
}

/** Of a FIFO without a reader: how long until we look again. */
const LOOK_MS = 50;

/** Writes into a device, or into a FIFO once someone reads it. */
async function pour(
  path: string,
  kind: 'fifo' | 'device',
  content: Content,
  signal: AbortSignal | undefined,
): Promise<void> {
  const disk = diskOf(path);
  if (kind === 'device') {
    const file = await disk(open(path, 'w'));
    return writeAll(file, content, disk, signal).finally(() => file.close());
  }
  // To open it and wait would hold a thread, which no signal reaches.
  const flags = constants.O_WRONLY | constants.O_NONBLOCK;
  let fd: number | undefined;
  while (fd === undefined) {
    signal?.throwIfAborted();
    try {
      fd = openSync(path, flags);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw diskError(error, path);
      await pause(LOOK_MS); // nobody reads it yet
    }
  }
  const socket = new Socket({ fd, readable: false, writable: true });
  await pipeline(pieces(content), socket, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw isSystemError(error) ? diskError(error, path) : error;
  });
}

/**
 * Runs `use` with a name beside `target` for a file or folder that is not finished; what `use` leaves there is removed,
 * even when the process ends meanwhile without unwinding it.
 */
export async function withTemporary<T>(target: string, use: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = `${target}.${HOST}-${process.pid}-${randomBytes(6).toString('hex')}.tmp`;
  const drop = (): void => rmSync(temporary, { recursive: true, force: true });
  process.once('exit', drop);
  try {
    return await use(temporary);
  } catch (error) {
    drop();
    throw error;
  } finally {
    process.off('exit', drop);
  }
}

/** Of a folder that several machines share. */
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const TEMPORARY = /^([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp$/;

/**
 * Removes what processes of this machine left beside `target` that were killed while they wrote it.
 *
 * @param alone nobody else can be writing: what other machines left goes, too
 */
export async function removeLeftovers(target: string, alone = false): Promise<void> {
  const start = `${basename(target)}.`;
  for (const name of await readdir(dirname(target)).catch(() => [])) {
    const [, host, pid] = (name.startsWith(start) && TEMPORARY.exec(name.slice(start.length))) || [];
    const isLeft = host === HOST && !isAlive(Number(pid));
    if (isLeft || (alone && name.startsWith(start) && name.endsWith('.tmp')))
      await rm(join(dirname(target), name), { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function pieces(content: Content): Exclude<Content, string | Uint8Array> {
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
    throw diskError(error, folder);
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
  ENXIO: 'the path names no file, but a disk, a socket or a circle of links',
  EPIPE: 'whoever read it has stopped',
};

function diskError(error: unknown, target: string, written = 0): UsageError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const reason = `${REASONS[code] ?? 'the system refused it'} (${code}${full ? `, after ${written} bytes` : ''})`;
  const advice = full ? 'Free space there, or choose another folder.' : 'Choose a folder you may write to.';
  return new UsageError(
    `write ${target}: expected a writable folder with enough space, but in ${dirname(target)} ${reason}. ` +
      `Nothing was written. ${advice}`,
    'unwritable',
    { cause: error },
  );
}
