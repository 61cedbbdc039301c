/** Which files a corpus consists of, and the hash of their content. */
import { createHash, randomBytes } from 'node:crypto';
import { constants, createReadStream, openSync } from 'node:fs';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { basename, extname, join, relative, resolve, sep } from 'node:path';
import { Socket } from 'node:net';
import process from 'node:process';
import { addAbortSignal, type Readable } from 'node:stream';
import { UsageError } from '../errors.ts';
import { isSystemError } from './file.ts';
import { placeOf } from './place.ts';

export type CorpusFormat = 'text' | 'jsonl';

export interface CorpusFile {
  readonly path: string;
  readonly format: CorpusFormat;
  readonly bytes: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

export interface Corpus {
  /** What to call it: the names of its files or of its folder. */
  readonly name: string;
  readonly files: readonly CorpusFile[];
  readonly bytes: number;
  /** Of one text file, its own sha256; else that of a line `sha256 format` for each file, in order. */
  readonly sha256: string;
  /** Removes what was written for it: the copy of stdin. */
  readonly close: () => Promise<void>;
}

export interface CorpusOptions {
  /** For files whose name does not tell, and for stdin. Default `text`. */
  readonly format?: CorpusFormat | undefined;
  /** Where stdin and FIFOs are copied to, so that they can be hashed, and read from any place. */
  readonly spool: string;
  readonly stdin?: Readable | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onHash?: (bytes: number) => void;
}

const JSONL = ['.jsonl', '.ndjson'];
const TEXT = ['.txt', '.text'];
const SNIFF_BYTES = 2 ** 16;

/**
 * Finds and hashes the files of a corpus. All of stdin is read first.
 *
 * @param paths files, folders (every .txt, .text, .jsonl and .ndjson in them and below, in the order of their names), `-` for stdin
 * @throws UsageError naming the path: missing, unreadable, a folder without text, a binary file, given twice
 */
export async function openCorpus(paths: readonly string[], options: CorpusOptions): Promise<Corpus> {
  if (paths.length === 0)
    throw new UsageError('corpus: expected a file, a folder, or - for stdin, got none.');
  const found: { path: string; format: CorpusFormat }[] = [];
  const names: string[] = [];
  const spooled: string[] = [];
  const close = async (): Promise<void> => {
    for (const path of spooled) await rm(path, { force: true });
  };
  try {
    for (const path of paths) {
      const isStdin = path === '-';
      if (isStdin && names.includes('stdin')) throw twice('-');
      if (isStdin || (await placeOf(path)).kind === 'fifo') {
        const stream = isStdin ? (options.stdin ?? process.stdin) : openFifo(path);
        const name = `stdin.${process.pid}-${randomBytes(6).toString('hex')}.tmp`;
        const copy = join(options.spool, name);
        spooled.push(copy);
        await spoolStream(path, copy, stream, options);
        found.push({ path: copy, format: options.format ?? 'text' });
        names.push(isStdin ? 'stdin' : basename(path));
        continue;
      }
      for (const file of await listFiles(path)) {
        if (found.some((other) => resolve(other.path) === resolve(file))) throw twice(file);
        const format = JSONL.includes(extname(file).toLowerCase()) ? 'jsonl' : (options.format ?? 'text');
        found.push({ path: file, format });
      }
      names.push(basename(resolve(path)));
    }
    const files: CorpusFile[] = [];
    for (const { path, format } of found) files.push(await hashFile(path, format, options));
    const [first] = files;
    const list = files.map(({ sha256, format }) => `${sha256} ${format}\n`).join('');
    return {
      name: names.join(', '),
      files,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      sha256:
        files.length === 1 && first?.format === 'text'
          ? first.sha256
          : createHash('sha256').update(list).digest('hex'),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function listFiles(path: string): Promise<string[]> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `corpus ${path}: expected a file or a folder, it cannot be read (${error.code}). Correct --corpus.`,
    );
  });
  if (found.isFile()) return [path];
  if (!found.isDirectory())
    throw new UsageError(
      `corpus ${path}: expected a file, a folder or a pipe, it is a device. Give text, or - for stdin.`,
      'bad_corpus',
    );
  const inside = await readdir(path, { recursive: true, withFileTypes: true });
  const names = inside
    .filter((entry) => entry.isFile() && [...JSONL, ...TEXT].includes(extname(entry.name).toLowerCase()))
    .map((entry) => relative(path, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((name) => !name.split('/').some((part) => part.startsWith('.')));
  if (names.length === 0)
    throw new UsageError(
      `corpus ${path}: expected a folder with .txt or .jsonl files, there are none in it or below.`,
    );
  // By code points: the same order on every system and in every language.
  names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return names.map((name) => join(path, name));
}

async function hashFile(path: string, format: CorpusFormat, options: CorpusOptions): Promise<CorpusFile> {
  const hash = createHash('sha256');
  const { size, mtimeMs } = await stat(path);
  let done = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
      options.signal?.throwIfAborted();
      if (done < SNIFF_BYTES) checkText(path, chunk.subarray(0, SNIFF_BYTES));
      hash.update(chunk);
      done += chunk.length;
      options.onHash?.(chunk.length);
    }
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new UsageError(`corpus ${path}: expected a readable file, but ${error.message}. Correct --corpus.`);
  }
  return { path, format, bytes: size, mtimeMs, sha256: hash.digest('hex') };
}

function checkText(path: string, start: Uint8Array): void {
  const gzip = start[0] === 0x1f && start[1] === 0x8b;
  if (!gzip && !start.includes(0)) return;
  throw new UsageError(
    `corpus ${path}: expected text, this is a binary file. Unpack or convert it to .txt (a document a line) or .jsonl first.`,
    'bad_corpus',
  );
}

/** A pipe is waited for without holding a thread, so that a signal ends the waiting. */
function openFifo(path: string): Readable {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

async function spoolStream(
  path: string,
  copy: string,
  stream: Readable,
  { spool, signal }: CorpusOptions,
): Promise<void> {
  const fault = (error: NodeJS.ErrnoException): never => {
    throw new UsageError(
      `corpus ${path}: expected a folder for a copy of it, ${spool} cannot be written to (${error.code}).`,
    );
  };
  await mkdir(spool, { recursive: true }).catch(fault);
  const file = await open(copy, 'wx').catch(fault);
  try {
    if (signal) addAbortSignal(signal, stream);
    for await (const chunk of stream as AsyncIterable<Buffer>) await file.writeFile(chunk);
  } catch (error) {
    signal?.throwIfAborted();
    throw isSystemError(error) ? fault(error as NodeJS.ErrnoException) : error;
  } finally {
    await file.close();
  }
}

function twice(path: string): UsageError {
  return new UsageError(
    `corpus: expected each file once, "${path}" is given twice. Its text would weigh double.`,
  );
}
