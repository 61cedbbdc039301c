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
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { makeFolder, writeAtomic } from './atomic.ts';
import { exists, readWhole } from './file.ts';
import { checkBlock, encodeBlock, readBlock, readLines } from './journal-steps.ts';
import type { Vectors } from './journal-steps.ts';
import { takeLock } from './lock.ts';

/** What is known of a step that is on the disk. */
interface Step {
  readonly line: Uint8Array;
  /** Where its line ends, its break included, and its block. */
  readonly end: number;
  readonly blockEnd: number;
}

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
  /** `new`: the folder must hold no run. `overwrite`: a run that is there is removed. `read`: nothing is changed. */
  readonly mode: 'new' | 'resume' | 'overwrite' | 'read';
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
  const reads = options.mode === 'read';
  if (!reads) await makeFolder(folder);
  const lock = reads ? undefined : await takeLock(join(folder, 'run.lock'));
  const opened: FileHandle[] = [];
  let head: Head | undefined;
  const close = async (): Promise<void> => {
    const began = reads || opened.length === 0 || head !== undefined;
    for (const file of opened.splice(0)) await file.close();
    if (!began) for (const path of names) await rm(path, { force: true });
    await lock?.release();
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
    if (reads && !there)
      throw new UsageError(`${folder}: expected the folder of a run, there is none in it.`, 'no_run');
    const mode = reads ? 'r' : there ? 'r+' : 'w+';
    const faultOf = (what: string): UsageError => new UsageError(`${headPath}: ${what}.`, 'damaged_run');
    const json = there ? await readWhole(headPath, MOST_HEAD_BYTES, faultOf) : undefined;
    head = json && read<Head>(options.head, json, headPath, 'a head');
    const text = await openFile(linesPath, mode);
    opened.push(text);
    const blocks = await openFile(vectorsPath, mode);
    opened.push(blocks);

    const lines: Line[] = [];
    const steps: Step[] = [];
    const tooLong = (): UsageError => damaged(linesPath, 'lines of some kilobytes', 'one without end');
    for await (const { line, end } of readLines(text, tooLong)) {
      lines.push(read<Line>(options.line, line, linesPath, `line ${lines.length + 1}`));
      const block = await checkBlock(blocks, steps.at(-1)?.blockEnd ?? 0, steps.length, line);
      // A line never comes without its block; a block without its line is a step that was not finished.
      if (block === undefined)
        throw damaged(
          vectorsPath,
          `at least ${lines.length} blocks, each fitting its line of ${linesPath}`,
          String(steps.length),
        );
      steps.push({ line, end, blockEnd: block });
    }
    if (!reads) {
      await cut(text, steps.at(-1)?.end ?? 0);
      await cut(blocks, steps.at(-1)?.blockEnd ?? 0);
    }

    return {
      get head() {
        return head;
      },
      lines,
      vectors: async function* () {
        for (const [i, { line }] of steps.entries()) {
          const found = await readBlock(blocks, steps[i - 1]?.blockEnd ?? 0, i, line);
          if (!found) throw damaged(vectorsPath, `block ${i}`, 'none');
          yield found;
        }
      },
      begin: async (wanted) => {
        await lock?.check();
        await writeAtomic(headPath, `${JSON.stringify(wanted, null, 1)}\n`);
        head = wanted;
      },
      append: async (value, vectors = []) => {
        const line = Buffer.from(JSON.stringify(value, options.nonFinite === 'object' ? written : undefined));
        await lock?.check();
        const block = encodeBlock(steps.length, line, vectors);
        await add(blocks, block);
        await add(text, Buffer.concat([line, Buffer.from('\n')]));
        const { end, blockEnd } = steps.at(-1) ?? { end: 0, blockEnd: 0 };
        steps.push({ line, end: end + line.length + 1, blockEnd: blockEnd + block.length });
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

function read<T>(schema: v.GenericSchema, text: Uint8Array, path: string, what: string): T {
  let json: unknown;
  try {
    json = parseJson(text, { reviver: revived });
  } catch (error) {
    throw damaged(path, `JSON in ${what}`, (error as Error).message);
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

async function openFile(path: string, mode: 'r' | 'r+' | 'w+'): Promise<FileHandle> {
  const fault = (what: string | undefined): UsageError =>
    new UsageError(
      `${path}: expected a file that may be read${mode === 'r' ? '' : ' and written'}, but ${what}.`,
      'unwritable',
    );
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
