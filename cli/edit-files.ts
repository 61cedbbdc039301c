/** Edit files as people name them: single ones, or all of an edit list in its order. */
import { dirname, resolve } from 'node:path';
import { readRecord } from '../src/edit/record.ts';
import type { EditRecord } from '../src/edit/record.ts';
import { UsageError } from '../src/errors.ts';
import { openSafetensors } from '../src/io/file.ts';
import { sha256File } from '../src/io/file.ts';
import { isEditList, readEditList } from './edit-list.ts';

export interface NamedEdit {
  /** The file as the user named it, or as the list's folder gives it. */
  readonly file: string;
  /** sha256 of the file: what `revert`, `history` and later edits call it. */
  readonly id: string;
  readonly record: EditRecord;
}

/** Characters of an id that people see and type. */
export const SHORT_ID = 8;

/** An edit as `--json` has it. */
export function namedEditResult({ id, file, record }: NamedEdit): object {
  const { targetIds, ...request } = record.request;
  return {
    id,
    file,
    layer: record.layer,
    method: record.method,
    request: { ...request, target_ids: targetIds },
  };
}

/** @throws UsageError naming the file, for one that is missing, damaged, no edit, or not what its list says */
export async function readEdits(names: readonly string[]): Promise<NamedEdit[]> {
  const edits: NamedEdit[] = [];
  for (const name of names) {
    if (!isEditList(name)) {
      edits.push(await readEdit(name));
      continue;
    }
    const list = await readEditList(name);
    for (const { file, sha256 } of list.edits)
      edits.push(await readEdit(resolve(dirname(name), file), sha256));
  }
  return edits;
}

/** @param expected sha256 that an edit list says the file has */
export async function readEdit(file: string, expected?: string): Promise<NamedEdit> {
  const record = await readRecord(await openSafetensors(file, UsageError));
  const id = await sha256File(file);
  if (expected !== undefined && id !== expected)
    throw new UsageError(
      `edit file ${file}: expected sha256 ${expected.slice(0, 12)}, as the edit list says, found ${id.slice(0, 12)}. The file was changed: restore it, or apply it to a new list.`,
      'bad_edit_file',
    );
  return { file, id, record };
}
