/** Files on a disk, read in pieces. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { ModelError, UsageError } from '../errors.ts';
import { type Safetensors, readSafetensors, safetensorsFault } from '../formats/safetensors.ts';
import { type ByteSource, type ErrorClass, FormatFault, faultless } from '../formats/source.ts';
import type { FileCheck } from './models.ts';

/** A read takes at most 2 GiB. */
const READ_BYTES = 2 ** 30;

/**
 * Opens a file to read it in pieces. It is opened for each read, and refused once it is no longer the file that it was.
 *
 * @throws what `fault` makes of a file that is missing or cannot be read
 */
export async function openSource(path: string, fault: (what: string) => Error): Promise<ByteSource> {
  const opened = withFile(path, async (file) => {
    const found = await file.stat();
    if (!found.isFile()) throw new FormatFault('expected a file, it is none (EISDIR)');
    return found;
  });
  const { size, mtimeMs } = await faultless(opened, fault);
  return {
    name: path,
    size,
    read: (offset, length) =>
      withFile(path, async (file) => {
        const now = await file.stat();
        if (now.size !== size || now.mtimeMs !== mtimeMs)
          throw new FormatFault('it was changed while in use');
        const out = new Uint8Array(length);
        for (let at = 0; at < length;) {
          const { bytesRead } = await file.read(out, at, Math.min(length - at, READ_BYTES), offset + at);
          if (bytesRead === 0) throw new FormatFault(`it ends at byte ${offset + at}, before what it lists`);
          at += bytesRead;
        }
        return out;
      }),
  };
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return await use(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new FormatFault(`expected a readable file, but ${error.message}`);
  } finally {
    await file?.close();
  }
}

/**
 * Opens a safetensors file of the disk.
 *
 * @param Failure what to throw: ModelError for a model or a covariance, UsageError for a file the user handed in
 */
export async function openSafetensors(path: string, Failure: ErrorClass = ModelError): Promise<Safetensors> {
  return readSafetensors(await openSource(path, safetensorsFault(path, Failure)), Failure);
}

/**
 * The whole of a file that is parsed as one: JSON, a list of facts.
 *
 * @param most bytes it may have
 * @throws what `fault` makes of one that cannot be read, or is larger
 */
export async function readWhole(
  path: string,
  most: number,
  fault: (what: string) => Error,
): Promise<Uint8Array> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw fault(
      error.code === 'ENOENT'
        ? 'expected a readable file, there is none (ENOENT)'
        : `expected a readable file, but it cannot be opened (${error.code})`,
    );
  });
  try {
    const found = await file.stat();
    if (found.isDirectory()) throw fault('expected a file, it is a folder');
    const { size } = found;
    if (size > most) throw tooLarge(most, fault);
    const parts: Uint8Array[] = [];
    for (let total = 0; ;) {
      // A pipe has no size; of a file the first read has all.
      const part = new Uint8Array(Math.max(size + 1 - total, 2 ** 16));
      const { bytesRead } = await file.read(part, 0, part.length);
      if (bytesRead === 0) return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
      parts.push(part.subarray(0, bytesRead));
      total += bytesRead;
      if (total > most) throw tooLarge(most, fault);
    }
  } catch (error) {
    throw isSystemError(error) ? fault(`expected a readable file, but ${error.message}`) : error;
  } finally {
    await file.close();
  }
}

function tooLarge(most: number, fault: (what: string) => Error): Error {
  return fault(`expected at most ${most / 2 ** 20} MiB, it has more`);
}

/**
 * SHA-256 of a file in lower-case hex; it is streamed, so that a checkpoint of any size takes one buffer.
 *
 * @throws ModelError if the file cannot be read
 */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    // A device may have no end, and a FIFO no writer.
    if (!(await stat(path)).isFile()) throw new Error('it is no file');
    await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  } catch (error) {
    throw new ModelError(
      `${path}: expected a readable file, but ${(error as Error).message}. Fetch it again.`,
    );
  }
  return hash.digest('hex');
}

/**
 * Checks a file against what is known of it: first the size, then the SHA-256.
 *
 * @throws ModelError with the expected and the actual value
 */
export async function verifyFile(folder: string, name: string, check: FileCheck): Promise<void> {
  const path = join(folder, name);
  const fault = (what: string): ModelError =>
    new ModelError(`${path}: ${what}. The file was changed or damaged: fetch it again.`, 'checksum');
  const { size } = await stat(path).catch(() => {
    throw fault('expected a file, there is none');
  });
  if (size !== check.bytes) throw fault(`expected ${check.bytes} bytes, it has ${size}`);
  const actual = await sha256File(path);
  if (actual !== check.sha256) throw fault(`expected sha256 ${check.sha256}, got ${actual}`);
}

/** Whether there is a file or folder of that name. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** An error of the operating system, with its code. */
export function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}

/** Of a file that is read as a whole: the largest published data sets have 50 MB. */
const MOST_DATA_BYTES = 128 * 2 ** 20;

/**
 * The text of a file that the user named, or of stdin for `-`, without a byte order mark.
 *
 * @throws what `fault` makes of one that cannot be read, or is larger
 */
export async function readText(path: string, fault: (what: string) => Error): Promise<string> {
  const bytes = await (path === '-' ? readStdin(fault) : readWhole(path, MOST_DATA_BYTES, fault));
  return new TextDecoder().decode(bytes);
}

async function readStdin(fault: (what: string) => Error): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let total = 0;
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    total += part.length;
    if (total > MOST_DATA_BYTES) throw tooLarge(MOST_DATA_BYTES, fault);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Where a file or folder of the package lies: above `src/` in a clone, else above `dist/` where it is installed. */
export async function ownPath(path: string): Promise<string> {
  const at = (up: string): string => fileURLToPath(new URL(up + path, import.meta.url));
  return (await exists(at('../../'))) ? at('../../') : at('../../../');
}

/** Of a package that is installed, or of this one: its own name leads to it. */
function versionOf(name: string): string {
  try {
    return (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}

/** Written into edit files and printed by `doctor`. */
export function versions(): Record<'palimpsest' | 'node' | 'webgpu', string> {
  return { palimpsest: versionOf('palimpsest'), node: process.version, webgpu: versionOf('webgpu') };
}

/**
 * Text of a file that the user named, or else of one that comes with the project.
 *
 * @param flag the flag that names another
 * @throws UsageError when it cannot be read
 */
export async function readData(
  flag: string,
  named: string | undefined,
  own: string,
): Promise<{ text: string; name: string }> {
  const fault = (what: string): UsageError => new UsageError(`${flag}: ${named}: ${what}.`);
  if (named !== undefined)
    return { text: await readText(named, fault), name: named === '-' ? 'stdin' : named };
  const text = await readFile(await ownPath(`data/${own}`), 'utf8').catch(() => undefined);
  if (text !== undefined) return { text, name: own };
  throw new UsageError(
    `${flag}: ${own} does not come with the installed package. Name a file of yours, or run in a clone of the project.`,
  );
}
