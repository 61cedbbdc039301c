/**
 * A run on disk that survives kill -9 at any moment: one folder,
 *
 *   run.json      what the run is: its settings, and what was measured before the first step
 *   run.jsonl     a line a step
 *   run.vectors   a block of float32 a step (none for a step without vectors), each with its checksum
 *   run.lock      who writes
 *
 * A step's block is on the disk before its line is, and its line before the next step begins. What a kill leaves is
 * therefore whole steps, and at most the torn end of one, which is cut off when the run is opened again.
 */
import { open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { makeFolder, writeAtomic } from './atomic.ts';
import { exists } from './file.ts';
import { encodeBlock, readBlock } from './journal-block.ts';
import type { Vectors } from './journal-block.ts';
import { takeLock } from './lock.ts';

export interface Journal<Head, Line> {
  /** undefined in a new run, until `begin`. */
  readonly head: Head | undefined;
  /** The steps that are complete. */
  readonly lines: readonly Line[];
  /** The vectors of these steps, in order, read one by one. */
  readonly vectors: () => AsyncIterable<Vectors>;
  /** Writes what the run is. */
  readonly begin: (head: Head) => Promise<void>;
  /** Adds a step; it is on the disk when this returns. */
  readonly append: (line: Line, vectors?: Vectors) => Promise<void>;
  readonly close: () => Promise<void>;
}

/**
 * Opens a run in a folder.
 *
 * @param resume goes on with the run that is there; otherwise the folder must hold none
 * @throws UsageError when there is a run and `resume` is not set, or a file is damaged elsewhere than at its end
 */
export async function openJournal<Head, Line>(folder: string, resume: boolean): Promise<Journal<Head, Line>> {
  const [headPath, linesPath, vectorsPath] = ['run.json', 'run.jsonl', 'run.vectors'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  await makeFolder(folder);
  const there = await exists(headPath);
  if (there && !resume)
    throw new UsageError(
      `${folder}: holds a run already. Go on with it by --resume, or choose another folder with --out.`,
      'run_exists',
    );
  const lock = await takeLock(join(folder, 'run.lock'));
  const opened: FileHandle[] = [];
  const close = async (): Promise<void> => {
    for (const file of opened) await file.close();
    await lock.release();
  };
  try {
    // Without run.json nothing of a run counts: it was stopped before its first step.
    const mode = there ? 'r+' : 'w+';
    const text = await openFile(linesPath, mode);
    opened.push(text);
    const blocks = await openFile(vectorsPath, mode);
    opened.push(blocks);
    let head = there ? (JSON.parse(await readFile(headPath, 'utf8')) as Head) : undefined;
    const { lines, ends: lineEnds } = await readLines<Line>(text, linesPath);
    const blockEnds = await readBlocks(blocks, vectorsPath);
    // A block without its line is a step that was not finished; a line never comes without its block.
    if (blockEnds.length < lines.length)
      throw damaged(
        vectorsPath,
        `${lines.length} blocks, as many as ${linesPath} has lines`,
        String(blockEnds.length),
      );
    await cut(text, lineEnds.at(-1) ?? 0);
    await cut(blocks, blockEnds[lines.length - 1] ?? 0);

    let step = lines.length;
    return {
      get head() {
        return head;
      },
      lines,
      vectors: async function* () {
        let at = 0;
        for (let i = 0; i < lines.length; i += 1) {
          const block = await readBlock(blocks, at);
          if (!block) throw damaged(vectorsPath, `block ${i}`, 'none');
          at = block.end;
          yield block.vectors;
        }
      },
      begin: async (wanted) => {
        await lock.check();
        await writeAtomic(headPath, `${JSON.stringify(wanted, null, 1)}\n`);
        head = wanted;
      },
      append: async (line, vectors = []) => {
        await lock.check();
        await add(blocks, encodeBlock(step, vectors));
        await add(text, new TextEncoder().encode(`${JSON.stringify(line)}\n`));
        step += 1;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Where each whole block ends. */
async function readBlocks(file: FileHandle, path: string): Promise<number[]> {
  const ends: number[] = [];
  for (;;) {
    const block = await readBlock(file, ends.at(-1) ?? 0);
    if (!block) return ends;
    if (block.step !== ends.length) throw damaged(path, `block ${ends.length}`, `block ${block.step}`);
    ends.push(block.end);
  }
}

/** Whole lines, and where each ends; a last one without its line break is torn and left out. */
async function readLines<Line>(file: FileHandle, path: string): Promise<{ lines: Line[]; ends: number[] }> {
  const bytes = await file.readFile();
  const lines: Line[] = [];
  const ends: number[] = [];
  for (let from = 0; ;) {
    const to = bytes.indexOf(0x0a, from);
    if (to < 0) return { lines, ends };
    try {
      lines.push(JSON.parse(bytes.toString('utf8', from, to)) as Line);
    } catch {
      throw damaged(
        path,
        `JSON in line ${lines.length + 1}`,
        JSON.stringify(bytes.toString('utf8', from, Math.min(to, from + 60))),
      );
    }
    from = to + 1;
    ends.push(from);
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

async function cut(file: FileHandle, size: number): Promise<void> {
  await file.truncate(size);
  await file.sync();
}

async function openFile(path: string, mode: 'r+' | 'w+'): Promise<FileHandle> {
  return open(path, mode).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `${path}: expected a file that may be read and written, but ${error.code}.`,
      'unwritable',
    );
  });
}

function damaged(path: string, expected: string, found: string): UsageError {
  return new UsageError(
    `${path}: expected ${expected}, found ${found}: the file was changed. Begin again in another folder.`,
    'damaged_run',
  );
}
