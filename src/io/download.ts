/** One file from a server onto the disk: resumed where an earlier run stopped, bounded, and checked before it takes its name. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ModelError } from '../errors.ts';

/** What a file of the hub must be, by what the hub says of it. */
export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  /** 64 hexadecimal digits: sha256 of the bytes. 40: sha1 of git's blob, `blob <size>\0` before them. */
  readonly oid: string;
}

interface DownloadOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Bytes that are on the disk now, those of an earlier run included. */
  readonly onBytes: (bytes: number) => void;
}

/** A server that sends nothing for so long has gone. */
const SILENT_MS = 60_000;

/**
 * Downloads `url` to `target`. What was fetched before an interruption lies in `target.incomplete`, and is gone on from.
 *
 * @throws ModelError when the bytes are not those that `file` promises: they are removed. What `fetch` throws, and the
 *   signal's reason, are passed on; what came is kept
 */
export async function download(
  url: string,
  target: string,
  file: RemoteFile,
  options: DownloadOptions,
): Promise<void> {
  const partial = `${target}.incomplete`;
  await mkdir(dirname(target), { recursive: true });
  const found = await stat(partial).catch(() => undefined);
  let from = found?.isFile() ? found.size : 0;
  if (from > file.size) {
    await rm(partial, { force: true });
    from = 0;
  }
  options.onBytes(from);
  if (from < file.size) await receive(url, partial, file, from, options);
  await verify(partial, file, options.signal);
  await rename(partial, target);
}

async function receive(
  url: string,
  partial: string,
  { path, size }: RemoteFile,
  from: number,
  { headers, signal, onBytes }: DownloadOptions,
): Promise<void> {
  const silence = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new TypeError('fetch failed', { cause: SILENCE })), SILENT_MS);
  };
  heard();
  const stop = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
  try {
    const range = from > 0 ? { range: `bytes=${from}-` } : undefined;
    const response = await fetch(url, { headers: { ...headers, ...range }, signal: stop });
    if (!response.ok || !response.body)
      throw Object.assign(new Error(`status ${response.status}`), { statusCode: response.status });
    // A server that does not know ranges sends the whole file again.
    let at = response.status === 206 ? from : 0;
    const disk = await open(partial, at > 0 ? 'a' : 'w');
    try {
      for await (const bytes of response.body) {
        heard();
        if (at + bytes.length > size) throw damaged(path, `expected ${size} bytes, the server sends more`);
        await disk.write(bytes);
        onBytes((at += bytes.length));
      }
    } catch (error) {
      if (error instanceof ModelError) await rm(partial, { force: true });
      throw error;
    } finally {
      await disk.close();
    }
    if (at < size)
      throw new ModelError(
        `download ${path}: expected ${size} bytes, the server ended after ${at}. What came is kept: run this again to go on from there.`,
        'cut_short',
      );
  } catch (error) {
    stop.throwIfAborted(); // the reason, not how fetch tells it
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

const SILENCE = new Error(`it sent nothing for ${SILENT_MS / 1000} seconds`);

async function verify(partial: string, file: RemoteFile, signal?: AbortSignal): Promise<void> {
  const isGit = file.oid.length !== 64;
  const hash = createHash(isGit ? 'sha1' : 'sha256');
  if (isGit) hash.update(`blob ${(await stat(partial)).size}\0`);
  for await (const piece of createReadStream(partial, { highWaterMark: 2 ** 20, signal }))
    hash.update(piece as Uint8Array);
  const actual = hash.digest('hex');
  if (actual === file.oid) return;
  await rm(partial, { force: true });
  const kind = isGit ? 'git blob' : 'sha256';
  throw damaged(file.path, `expected ${kind} ${file.oid}, got ${actual}`);
}

function damaged(path: string, what: string): ModelError {
  return new ModelError(`download ${path}: ${what}. It was removed: fetch it again.`, 'checksum');
}
