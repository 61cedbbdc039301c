/**
 * An edit list: which edit files are in a model, in order, as a small JSON file that people may read and keep.
 *
 *   {"schema": "palimpsest.edits/1", "model": {"id", "sha256"}, "edits": [{"file", "sha256"}, ...]}
 *
 * Files are named relative to the list. The edited model is always the base and these edits in this order, computed
 * anew, so that taking one out of the middle is exact to the last bit.
 */
import { readFile } from 'node:fs/promises';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';

const SCHEMA = 'palimpsest.edits/1';

export interface EditList {
  readonly model: { readonly id: string; readonly sha256: string };
  readonly edits: readonly { readonly file: string; readonly sha256: string }[];
}

export function isEditList(name: string): boolean {
  return name.endsWith('.json');
}

/** @throws UsageError naming the file and what is wrong with it */
export async function readEditList(path: string): Promise<EditList> {
  const fault = (what: string): UsageError =>
    new UsageError(`edit list ${path}: ${what}. palimpsest apply writes such lists.`, 'bad_edit_list');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw fault(`expected a readable file, but it cannot be opened (${error.code})`);
  });
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw fault(`expected JSON, but ${(error as Error).message}`);
  }
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isRecord(found) || found['schema'] !== SCHEMA)
    throw fault(`expected an object with "schema": "${SCHEMA}"`);
  const { model, edits } = found;
  if (!isRecord(model) || typeof model['id'] !== 'string' || typeof model['sha256'] !== 'string')
    throw fault('expected "model" with "id" and "sha256"');
  const isEntry = (value: unknown): boolean =>
    isRecord(value) && typeof value['file'] === 'string' && typeof value['sha256'] === 'string';
  if (!Array.isArray(edits) || !edits.every(isEntry))
    throw fault('expected "edits", each with "file" and "sha256"');
  return {
    model: { id: model['id'], sha256: model['sha256'] },
    edits: edits as { file: string; sha256: string }[],
  };
}

export async function writeEditList(path: string, { model, edits }: EditList): Promise<void> {
  const text = `${JSON.stringify({ schema: SCHEMA, model, edits }, undefined, 2)}\n`;
  await writeAtomic(path, text);
}
