/**
 * Edits as people name them: an edit file, the folder of a `sequence` run, or an edit list.
 *
 * An edit list is a small JSON file that people may read and keep. It says which edit files are in a model, in order:
 *
 *   {"schema": "palimpsest.edits/1", "model": {"id", "sha256"}, "edits": [{"file", "sha256"}, ...]}
 *
 * Files are named relative to the list. The edited model is always the base and these edits in this order, computed
 * anew, so that taking one out of the middle is exact to the last bit.
 */
import { readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { readAnyEditFile } from '../src/edit/edit-file.ts';
import { isFactsRecord, requestsOf, targetsOf, type FactsRecord } from '../src/edit/facts-record.ts';
import type { EditRecord } from '../src/edit/record.ts';
import { factLine } from '../src/edit/template.ts';
import { UsageError } from '../src/errors.ts';
import { safetensorsFault } from '../src/formats/safetensors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openSource, sha256File, readText } from '../src/io/file.ts';
import { takeLock } from '../src/io/lock.ts';
import { placeOf } from '../src/io/place.ts';
import { jsonFrom, jsonIfAny } from '../src/json.ts';
import { plural } from '../src/numerals.ts';
import type { Run } from './commands.ts';
import type { Terminal } from './terminal.ts';

const SCHEMA = 'palimpsest.edits/1';

const SHA256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const EDIT_LIST = v.object({
  schema: v.literal(SCHEMA),
  model: v.object({ id: v.string(), sha256: SHA256 }),
  edits: v.array(
    v.object({
      // The system knows no such name.
      file: v.pipe(v.string(), v.regex(/^[^\0]+$/, 'expected the name of a file')),
      sha256: SHA256,
      /** Batches of the file that are left out, from 1. */
      without: v.optional(v.array(v.pipe(v.number(), v.integer(), v.minValue(1)))),
    }),
  ),
});

export type EditList = Omit<v.InferOutput<typeof EDIT_LIST>, 'schema'>;

export interface NamedEdit {
  /** The file as the user named it, or as the list's folder gives it. */
  readonly file: string;
  /** sha256 of the file: what `revert`, `history` and later edits call it. */
  readonly id: string;
  /** Without the batches that are left out. */
  readonly record: EditRecord | FactsRecord;
  /** Batches of a file of many facts that are left out, from 1. */
  readonly without: readonly number[];
}

/** Characters of an id that people see and type. */
const SHORT_ID = 8;

export function shortId({ id }: { readonly id: string }): string {
  return id.slice(0, SHORT_ID);
}

/** An edit as `--json` has it. */
export function namedEditResult({ id, file, record, without }: NamedEdit): object {
  const requests = requestsOf(record).map(({ targetIds, ...request }) => ({
    ...request,
    target_ids: targetIds,
  }));
  const common = { id, file, method: record.method };
  if (!isFactsRecord(record)) return { ...common, layer: record.layer, request: requests[0] };
  const batches = record.batches.map((batch) => batch.requests.length);
  return { ...common, layers: targetsOf(record).map(({ layer }) => layer), batches, without, requests };
}

/** In words: the fact, or how many and the first of them. */
export function sentenceOf({ record, without }: NamedEdit): string {
  const [first, ...more] = requestsOf(record);
  if (!first) return '';
  const { prompt, subject, target } = first;
  const shown = factLine({ prompt, subject }, target);
  if (!isFactsRecord(record)) return shown;
  const facts = `${plural(more.length + 1, 'fact')} in ${record.batches.length === 1 ? 'one batch' : `${record.batches.length} batches`}`;
  return `${facts}${without.length > 0 ? ` (without ${without.join(', ')})` : ''}: ${shown}${more.length > 0 ? ', …' : ''}`;
}

/** Ids of the edits that were in the model when this one was computed. */
export function madeOn({ record }: NamedEdit): string[] {
  const found = jsonIfAny(record.metadata['earlier'] ?? '');
  return Array.isArray(found) ? found.map(String) : [];
}

export function isEditList(name: string): boolean {
  return name.endsWith('.json');
}

/** @throws UsageError naming the file and what is wrong with it */
export async function readEditList(path: string): Promise<EditList> {
  const fault = (what: string): UsageError =>
    new UsageError(`edit list ${path}: ${what}. palimpsest apply writes such lists.`, 'bad_edit_list');
  const text = await readText(path, fault);
  const json = jsonFrom(text, (found) => fault(`expected JSON, found ${found}`));
  const { success, output, issues } = v.safeParse(EDIT_LIST, json, { abortEarly: true });
  if (!success) {
    const [{ expected, received }] = issues;
    throw fault(`${v.getDotPath(issues[0])}: expected ${expected}, found ${received}`);
  }
  const ids = new Map(output.edits.map(({ sha256 }, i) => [sha256, i]));
  const twice = output.edits.find(({ sha256 }, i) => ids.get(sha256) !== i);
  if (twice) throw fault(`expected every edit once, found ${twice.sha256.slice(0, 12)} twice`);
  return { model: output.model, edits: output.edits };
}

/**
 * Runs `use` while no other process changes a list; one that does is waited for.
 *
 * @throws UsageError for a name that no command would read as a list
 */
export async function withList<T>(path: string, { terminal, signal }: Run, use: () => Promise<T>) {
  if (!isEditList(path))
    throw new UsageError(
      `--list ${path}: expected a name that ends in .json, by which other commands know a list. Choose another name.`,
    );
  const onWait = (holder: string): void =>
    terminal.note(`palimpsest: waiting for ${holder}, which is at work on ${path}`);
  const lock = await takeLock(`${(await placeOf(path)).path}.lock`, { signal, onWait });
  try {
    return await use();
  } finally {
    await lock.release();
  }
}

export async function writeEditList(path: string, { model, edits }: EditList): Promise<void> {
  const text = `${JSON.stringify({ schema: SCHEMA, model, edits }, undefined, 2)}\n`;
  await writeAtomic(path, text);
}

/** @throws UsageError naming the file, for one that is missing, damaged, no edit, or not what its list says */
export async function readEdits(names: readonly string[]): Promise<NamedEdit[]> {
  const edits: NamedEdit[] = [];
  for (const name of names) {
    if ((await stat(name).catch(() => undefined))?.isDirectory()) edits.push(...(await readRun(name)));
    else if (isEditList(name)) edits.push(...(await readListed(name)));
    else edits.push(await readEdit(name));
  }
  edits.forEach(({ id, file }, i) => {
    const first = edits.findIndex((other) => other.id === id);
    if (first < i)
      throw new UsageError(
        `edit file ${file}: expected each edit once, but it is number ${first + 1} already (${edits[first]?.file}). In the model twice, it would count double.`,
        'twice',
      );
  });
  return edits;
}

/** Says which edits have no checksum: those of version 0.1.0, whose numbers nobody can check. */
export function warnOfUnverified(edits: readonly NamedEdit[], terminal: Terminal): void {
  const files = edits.filter(({ record }) => !record.verified).map(({ file }) => file);
  if (files.length > 0)
    terminal.warn(
      `${files.slice(0, 3).join(', ')}${files.length > 3 ? ` and ${files.length - 3} more` : ''}: written by version 0.1.0, without a checksum of its numbers. Whether they were changed since cannot be told.`,
    );
}

/** @throws UsageError saying what the file is instead of an edit */
export async function readEdit(file: string): Promise<NamedEdit> {
  const record = await readAnyEditFile(await openSource(file, safetensorsFault(file, UsageError)));
  return { file, id: await sha256File(file), record, without: [] };
}

/** The edits of a list, each with the bytes that the list says. */
async function readListed(list: string): Promise<NamedEdit[]> {
  const { edits } = await readEditList(list);
  const found: NamedEdit[] = [];
  for (const [i, { file, sha256, without = [] }] of edits.entries()) {
    const where = `edit list ${list}: edit ${i + 1}`;
    const edit = await readEdit(resolve(dirname(list), file)).catch((error: unknown) => {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(
        `${where}: ${error.message} The list names files relative to itself: put the file back, or make a new list with palimpsest apply.`,
        error.code,
      );
    });
    if (edit.id !== sha256)
      throw new UsageError(
        `${where}: edit file ${edit.file}: expected sha256 ${sha256.slice(0, 12)}, as the edit list says, found ${edit.id.slice(0, 12)}. The file was changed: restore it, or apply it to a new list.`,
        'bad_edit_file',
      );
    found.push(leaveOut(edit, without, where));
  }
  return found;
}

/** @throws UsageError for a batch that the file does not have */
export function leaveOut(edit: NamedEdit, batches: readonly number[], where: string): NamedEdit {
  const { record } = edit;
  if (batches.length === 0) return edit;
  const count = isFactsRecord(record) ? record.batches.length + edit.without.length : 0;
  const wrong = batches.find((batch) => batch > count || edit.without.includes(batch));
  if (!isFactsRecord(record) || wrong !== undefined)
    throw new UsageError(
      count === 0
        ? `${where}: batches can be left out of a file of many facts, this is a single edit. Take it out whole.`
        : `${where}: expected one of the batches 1 to ${count} that are in it, found ${wrong}.`,
    );
  // Numbers stay those of the file, whatever was left out before.
  const numbers = Array.from({ length: count }, (_, b) => b + 1).filter((b) => !edit.without.includes(b));
  const kept = record.batches.filter((_, i) => !batches.includes(numbers[i] ?? 0));
  const without = [...edit.without, ...batches].sort((a, b) => a - b);
  return { ...edit, without, record: { ...record, batches: kept } };
}

/** The edits that a sequence kept, in its order: DIR/edits/0001.safetensors, ... */
async function readRun(folder: string): Promise<NamedEdit[]> {
  const names = await readdir(join(folder, 'edits')).catch(() => []);
  const files = names
    .filter((name) => /^\d+\.safetensors$/.test(name))
    .sort((a, b) => parseInt(a) - parseInt(b));
  if (files.length === 0)
    throw new UsageError(
      `--edits ${folder}: expected the folder of a sequence run, found a folder without edits/0001.safetensors. Name edit files, an edit list, or the folder that palimpsest sequence --out wrote.`,
      'bad_edit_file',
    );
  return Promise.all(files.map((name) => readEdit(join(folder, 'edits', name))));
}
