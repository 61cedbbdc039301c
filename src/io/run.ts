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
import { createHash } from 'node:crypto';
import { open, rm, rmdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { UsageError } from '../errors.ts';
import { memoryJournal, type RunJournal } from '../lab/run-journal.ts';
import type { SequenceLine } from '../lab/sequence.ts';
import { makeFolder, writeAtomic } from './atomic.ts';
import { exists, readWhole } from './file.ts';
import { damaged, encodeBlock, findBlock, readVectors, readForm, written } from './journal.ts';
import { linesOf } from './lines.ts';
import { takeLock } from './lock.ts';

type Settings = Readonly<Record<string, unknown>>;

/** What a line says of its fact. */
type RunLine = Pick<SequenceLine, 'subject' | 'target_new'>;
type RunFact = Pick<Fact, 'subject' | 'targetNew'>;

/** A run whose journal is open; its settings are known once the model is. */
export interface OpenRun<Head, Line> extends RunJournal<Head, Line> {
  /** @throws UsageError for other settings than those it was begun with, or other facts than those of its lines, a line a fact */
  readonly check: (settings: Settings, facts?: readonly RunFact[]) => void;
  readonly close: () => Promise<void>;
}

/** Of settings, contexts among them. */
const MOST_HEAD_BYTES = 64 * 2 ** 20;
/** A line has some kilobytes; one of many facts at once some megabytes. */
const LONGEST_LINE = 64 * 2 ** 20;

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
export async function openRun<Head extends object, Line>(
  folder: string,
  options: JournalOptions,
): Promise<OpenRun<Head, Line>> {
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
    head = json && readForm<Head>(options.head, json, headPath, 'a head');
    const text = await openFile(linesPath, mode);
    opened.push(text);
    const blocks = await openFile(vectorsPath, mode);
    opened.push(blocks);

    const lines: Line[] = [];
    // What is known of the steps on the disk: where a line ends, its break included, and its block.
    const steps: { readonly line: Uint8Array; readonly end: number; readonly blockEnd: number }[] = [];
    const tooLong = (): UsageError => damaged(linesPath, 'lines of some kilobytes', 'one without end');
    for await (const { bytes: line, end, torn } of linesOf(text, 0, LONGEST_LINE, tooLong)) {
      if (torn) break;
      lines.push(readForm<Line>(options.line, line, linesPath, `line ${lines.length + 1}`));
      const block = await findBlock(blocks, steps.at(-1)?.blockEnd ?? 0, steps.length, line);
      // A line never comes without its block; a block without its line is a step that was not finished.
      if (!block)
        throw damaged(
          vectorsPath,
          `at least ${lines.length} blocks, each fitting its line of ${linesPath}`,
          String(steps.length),
        );
      steps.push({ line, end, blockEnd: block.end });
    }
    if (!reads) {
      await cutFile(text, steps.at(-1)?.end ?? 0);
      await cutFile(blocks, steps.at(-1)?.blockEnd ?? 0);
    }

    return {
      get head() {
        return head;
      },
      lines,
      vectors: async function* () {
        for (const [i, { line }] of steps.entries()) {
          const block = await findBlock(blocks, steps[i - 1]?.blockEnd ?? 0, i, line);
          const found = block && (await readVectors(blocks, block));
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
        lines.push(value);
      },
      check: (settings, facts) => {
        if (head) sameSettings((head as { settings: Settings }).settings, settings, folder);
        if (facts) sameFacts(lines as readonly unknown[] as readonly RunLine[], facts, folder);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
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

async function cutFile(file: FileHandle, size: number): Promise<void> {
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

/** A run that nothing outlives: without a folder. */
export function memoryRun<Head, Line>(): OpenRun<Head, Line> {
  return Object.assign(memoryJournal<Head, Line>(), { close: async () => undefined, check: () => undefined });
}

/** @throws UsageError naming the first setting that differs, and both values */
function sameSettings(stored: Settings, given: Settings, folder: string): void {
  // As JSON has them: undefined members fall away.
  const now = JSON.parse(JSON.stringify(given)) as Settings;
  for (const name of new Set([...Object.keys(stored), ...Object.keys(now)])) {
    const [was, is] = [JSON.stringify(stored[name]), JSON.stringify(now[name])];
    if (was === is) continue;
    throw new UsageError(
      `${folder}: this run was begun with ${name} ${cut(was)}, but now it is ${cut(is)}. ` +
        'Its numbers would not be those of an unbroken run: give the same settings, or another --out.',
      'other_run',
    );
  }
}

function cut(value = 'none'): string {
  return value.length > 80 ? `${value.slice(0, 80)}…` : value;
}

/** @throws UsageError when the lines of a run are of other facts */
function sameFacts(lines: readonly RunLine[], facts: readonly RunFact[], folder: string): void {
  lines.forEach(({ subject, target_new }, i) => {
    const fact = facts[i];
    if (fact && fact.subject === subject && fact.targetNew === target_new) return;
    const found = fact ? `"${fact.subject}" → "${fact.targetNew}"` : `only ${facts.length} records`;
    throw new UsageError(
      `${folder}: line ${i + 1} of this run is "${subject}" → "${target_new}", but the data holds ${found}. Give the run's own data, or another --out.`,
      'other_run',
    );
  });
}

/** Of texts that are too long for a settings file. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
