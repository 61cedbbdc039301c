/**
 * A run on disk that survives kill -9 at any moment: one folder,
 *
 *   run.json      what the run is: its settings, and what was measured before the first step
 *   run.jsonl     a line a step
 *   run.vectors   a block a step: float32 vectors (none for a step without), and a checksum of them and of the line
 *   run.lock      who writes
 *
 * A step's block is on the disk before its line is, and its line before the next step begins. What a kill leaves is
 * therefore whole steps, and at most the torn end of one, which is cut off when the run is opened again. A line that was
 * changed no longer fits its block.
 */
import { open, rm, rmdir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { makeFolder, writeAtomic } from './atomic.ts';
import { exists, readWhole } from './file.ts';
import { takeLock } from './lock.ts';

type Vectors = readonly Float32Array<ArrayBuffer>[];

export interface Journal<Head, Line> {
  /** undefined in a new run, until `begin`. */
  readonly head: Head | undefined;
  /** The steps that were complete when it was opened. */
  readonly lines: readonly Line[];
  /** The vectors of all steps, those added since too, in order, read one by one. */
  readonly vectors: () => AsyncIterable<Vectors>;
  /** Writes what the run is. */
  readonly begin: (head: Head) => Promise<void>;
  /** Adds a step; it is on the disk when this returns. */
  readonly append: (line: Line, vectors?: Vectors) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Of settings, contexts among them. */
const MOST_HEAD_BYTES = 64 * 2 ** 20;

export interface JournalOptions {
  /** `new`: the folder must hold no run. `overwrite`: a run that is there is removed. */
  readonly mode: 'new' | 'resume' | 'overwrite';
  /** What of a head and of a line must be so before anyone relies on it. */
  readonly head: v.GenericSchema;
  readonly line: v.GenericSchema;
  /** JSON has no NaN and no infinities: they are null, or an object that is read as such a number again. Default null. */
  readonly nonFinite?: 'null' | 'object';
}

/**
 * Opens a run in a folder.
 *
 * @throws UsageError when there is a run and none may be, or a file is damaged elsewhere than at its end
 */
export async function openJournal<Head, Line>(
  folder: string,
  options: JournalOptions,
): Promise<Journal<Head, Line>> {
  const names = ['run.json', 'run.jsonl', 'run.vectors'].map((name) => join(folder, name));
  const [headPath, linesPath, vectorsPath] = names as [string, string, string];
  await makeFolder(folder);
  const lock = await takeLock(join(folder, 'run.lock'));
  const opened: FileHandle[] = [];
  let head: Head | undefined;
  const close = async (): Promise<void> => {
    const began = opened.length === 0 || head !== undefined;
    for (const file of opened.splice(0)) await file.close();
    if (!began) for (const path of names) await rm(path, { force: true });
    await lock.release();
    if (!began) await rmdir(folder).catch(() => undefined); // with something else in it, it stays
  };
  try {
    if (options.mode === 'overwrite') for (const path of names) await rm(path, { force: true });
    const there = await exists(headPath);
    if (there && options.mode === 'new')
      throw new UsageError(
        `${folder}: holds a run already. Go on with it by --resume, or choose another folder with --out.`,
        'run_exists',
      );
    // Without run.json nothing of a run counts: it was stopped before its first step.
    const mode = there ? 'r+' : 'w+';
    const faultOf = (what: string): UsageError => new UsageError(`${headPath}: ${what}.`, 'damaged_run');
    const json = there ? Buffer.from(await readWhole(headPath, MOST_HEAD_BYTES, faultOf)).toString() : '';
    head = there ? read<Head>(options.head, json, headPath, 'a head') : undefined;
    const text = await openFile(linesPath, mode);
    opened.push(text);
    const blocks = await openFile(vectorsPath, mode);
    opened.push(blocks);

    const steps = splitLines(await text.readFile());
    const lines = steps.map(({ line }, i) =>
      read<Line>(options.line, line.toString(), linesPath, `line ${i + 1}`),
    );
    const ends: number[] = [];
    for (const [i, { line }] of steps.entries()) {
      const block = await readBlock(blocks, ends.at(-1) ?? 0, i, line);
      // A line never comes without its block; a block without its line is a step that was not finished.
      if (!block)
        throw damaged(
          vectorsPath,
          `${lines.length} blocks, each fitting its line of ${linesPath}`,
          String(i),
        );
      ends.push(block.end);
    }
    await cut(text, steps.at(-1)?.end ?? 0);
    await cut(blocks, ends.at(-1) ?? 0);

    let step = lines.length;
    return {
      get head() {
        return head;
      },
      lines,
      vectors: async function* () {
        for (const [i, { line }] of steps.entries()) {
          const block = await readBlock(blocks, ends[i - 1] ?? 0, i, line);
          if (!block) throw damaged(vectorsPath, `block ${i}`, 'none');
          yield block.vectors;
        }
      },
      begin: async (wanted) => {
        await lock.check();
        await writeAtomic(headPath, `${JSON.stringify(wanted, null, 1)}\n`);
        head = wanted;
      },
      append: async (value, vectors = []) => {
        const line = Buffer.from(JSON.stringify(value, options.nonFinite === 'object' ? written : undefined));
        await lock.check();
        const block = encodeBlock(step, line, vectors);
        await add(blocks, block);
        await add(text, Buffer.concat([line, Buffer.from('\n')]));
        step += 1;
        ends.push((ends.at(-1) ?? 0) + block.length);
        steps.push({ line, end: (steps.at(-1)?.end ?? 0) + line.length + 1 });
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A number that JSON does not have, as an object. */
function written(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? { number: String(value) } : value;
}

const NON_FINITE = v.strictObject({ number: v.picklist(['NaN', 'Infinity', '-Infinity']) });

function revived(_: string, value: unknown): unknown {
  return v.is(NON_FINITE, value) ? Number(value.number) : value;
}

function read<T>(schema: v.GenericSchema, text: string, path: string, what: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text, revived);
  } catch {
    throw damaged(path, `JSON in ${what}`, JSON.stringify(text.slice(0, 60)));
  }
  const found = v.safeParse(schema, json);
  if (found.success) return found.output as T;
  const [issue] = found.issues;
  const where = v.getDotPath(issue);
  throw damaged(
    path,
    `${issue.expected} in ${what}${where === null ? '' : `, ${where}`}`,
    issue.received.slice(0, 60),
  );
}

/** Whole lines, and where each ends; a last one without its line break is torn and left out. */
function splitLines(bytes: Buffer): { line: Buffer; end: number }[] {
  const found: { line: Buffer; end: number }[] = [];
  for (let from = 0, to = bytes.indexOf(0x0a); to >= 0; from = to + 1, to = bytes.indexOf(0x0a, from))
    found.push({ line: bytes.subarray(from, to), end: to + 1 });
  return found;
}

const MAGIC = 0x324d4c50; // "PLM2"
/** Far more than a step has: a count beyond it is no count. */
const MOST_VECTORS = 1024;

/** magic, step, number of vectors, their lengths, CRC-32 of all before and after it and of the line, then the numbers. All little-endian. */
function encodeBlock(step: number, line: Uint8Array, vectors: Vectors): Uint8Array {
  const head = bytesOf(Uint32Array.of(MAGIC, step, vectors.length, ...vectors.map(({ length }) => length)));
  const body = Buffer.concat(vectors.map(bytesOf));
  return Buffer.concat([head, bytesOf(Uint32Array.of(checksum(head, line, body))), body]);
}

/** undefined where no whole block of that step and line stands. */
async function readBlock(
  file: FileHandle,
  at: number,
  step: number,
  line: Uint8Array,
): Promise<{ vectors: Vectors; end: number } | undefined> {
  const start = await readWords(file, at, 3);
  const count = start?.[2] ?? 0;
  if (!start || start[0] !== MAGIC || start[1] !== step || count > MOST_VECTORS) return undefined;
  const rest = await readWords(file, at + 12, count + 1);
  if (!rest) return undefined;
  const lengths = rest.subarray(0, count);
  const total = lengths.reduce((all, n) => all + n, 0);
  const from = at + 16 + 4 * count;
  if (from + 4 * total > (await file.stat()).size) return undefined;
  const body = await readWords(file, from, total);
  const head = bytesOf(Uint32Array.of(...start, ...lengths));
  if (!body || checksum(head, line, bytesOf(body)) !== rest[count]) return undefined;
  let first = 0;
  const vectors = [...lengths].map((n) => new Float32Array(body.buffer, 4 * ((first += n) - n), n));
  return { vectors, end: from + 4 * total };
}

/** CRC-32 of all in one piece: for some empty arrays Node's `crc32(empty, start)` is 0, not `start`. */
function checksum(...parts: readonly Uint8Array[]): number {
  return crc32(Buffer.concat(parts));
}

async function readWords(
  file: FileHandle,
  at: number,
  count: number,
): Promise<Uint32Array<ArrayBuffer> | undefined> {
  const words = new Uint32Array(count);
  if (count === 0) return words;
  const { bytesRead } = await file.read(bytesOf(words), 0, 4 * count, at);
  return bytesRead === 4 * count ? words : undefined;
}

async function add(file: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    const { size } = await file.stat();
    for (let at = 0; at < bytes.length;)
      at += (await file.write(bytes, at, bytes.length - at, size + at)).bytesWritten;
    await file.sync();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(
      `run: expected room for another step, but ${code}. What was finished is kept: free space and go on with --resume.`,
      'unwritable',
    );
  }
}

async function cut(file: FileHandle, size: number): Promise<void> {
  await file.truncate(size);
  await file.sync();
}

async function openFile(path: string, mode: 'r+' | 'w+'): Promise<FileHandle> {
  const fault = (what: string | undefined): UsageError =>
    new UsageError(`${path}: expected a file that may be read and written, but ${what}.`, 'unwritable');
  const file = await open(path, mode).catch((error: NodeJS.ErrnoException) => {
    throw fault(error.code);
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw fault('it is no file'); // a device may have no end
}

function damaged(path: string, expected: string, found: string): UsageError {
  return new UsageError(
    `${path}: expected ${expected}, found ${found}: the file was changed. Begin again in another folder.`,
    'damaged_run',
  );
}
