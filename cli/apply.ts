/** `palimpsest apply FILES...`: adds edit files to an edit list, and checks what the model makes of them. */
import { dirname, relative, resolve } from 'node:path';
import { stat } from 'node:fs/promises';
import { UsageError } from '../src/errors.ts';
import { command } from './command.ts';
import type { Report, Run } from './command.ts';
import { SHORT_ID, readEdits } from './edit-files.ts';
import { namedEditResult as editResult } from './edit-files.ts';
import type { NamedEdit } from './edit-files.ts';
import { readEditList, writeEditList } from './edit-list.ts';
import type { EditList } from './edit-list.ts';
import { checkEdits, showEdits } from './edits-view.ts';
import { MODEL_FLAGS, text } from './flags.ts';
import { checkWritable } from './out-file.ts';
import { introduce, reportTimings, withSession } from './session.ts';
import type { ModelArguments } from './session.ts';
import { plural } from './terminal.ts';

export const DEFAULT_LIST = 'edits.json';

const { edits: _, ...MODEL_WITHOUT_EDITS } = MODEL_FLAGS;

/** Flags of the commands that keep a list. */
export const LIST_FLAGS = {
  ...MODEL_WITHOUT_EDITS,
  list: text('--list', `the edit list [default: ${DEFAULT_LIST}]`),
  check: {
    type: 'boolean',
    default: true,
    describe: 'ask the model for every target; --no-check only writes the list',
  },
} as const;

export interface ListArguments extends Omit<ModelArguments, 'edits'> {
  readonly list?: string | undefined;
  readonly check: boolean;
}

export const apply = command({
  flags: (yargs) =>
    yargs
      .positional('files', { type: 'string', array: true, describe: 'edit files, or other edit lists' })
      .options(LIST_FLAGS),
  run: async (args, run) => {
    const path = args.list ?? DEFAULT_LIST;
    await checkWritable('--list', path);
    const added = await readEdits((args.files ?? []).map(String));
    const here = (await stat(path).catch(() => undefined)) ? await readEdits([path]) : [];
    for (const edit of added) checkNew(edit, [...here, ...added.slice(0, added.indexOf(edit))], path);
    return keepList(path, here.length, [...here, ...added], args, run);
  },
});

/** Checks the edits together in the model, then writes the list: what `apply` and `revert` end with. */
export async function keepList(
  path: string,
  earlier: number,
  edits: readonly NamedEdit[],
  args: ListArguments,
  run: Run,
): Promise<Report> {
  const { terminal } = run;
  const model = edits[0]?.record.model ?? (await readEditList(path)).model;
  const list: EditList = {
    model,
    edits: edits.map(({ file, id }) => ({ file: fileFrom(path, file), sha256: id })),
  };
  const result = {
    list: path,
    model,
    edits: edits.map(editResult),
  };
  const done = (): void => {
    const change = edits.length - earlier;
    terminal.print();
    terminal.say(
      `${path}: base ${model.id} → ${plural(edits.length, 'edit')} (${change >= 0 ? '+' : ''}${change})`,
    );
  };
  if (!args.check || edits.length === 0) {
    await writeEditList(path, list);
    showEdits(terminal, edits);
    done();
    return { model, result };
  }
  return withSession({ ...args, edits: edits.map(({ file }) => file) }, run, async (session) => {
    introduce(session, run);
    const checked = await checkEdits(session);
    await writeEditList(path, list);
    showEdits(terminal, edits, checked);
    done();
    reportTimings(session, run);
    return { ...session.about, result: { ...result, checked }, timings_ms: session.timings };
  });
}

/** @throws UsageError for an edit of another model, or one that is there already */
function checkNew(edit: NamedEdit, others: readonly NamedEdit[], path: string): void {
  const [first] = others;
  if (first && first.record.model.sha256 !== edit.record.model.sha256)
    throw new UsageError(
      `apply ${edit.file}: expected an edit of ${first.record.model.id} (sha256 ${first.record.model.sha256.slice(0, 12)}) as all of ${path}, ` +
        `found one of ${edit.record.model.id} (sha256 ${edit.record.model.sha256.slice(0, 12)}). Use another --list.`,
      'other_model',
    );
  const same = others.findIndex(({ id }) => id === edit.id);
  if (same >= 0)
    throw new UsageError(
      `apply ${edit.file}: expected an edit that is not yet in ${path}, but it is number ${same + 1} (${edit.id.slice(0, SHORT_ID)}). Applying it twice would double it.`,
      'twice',
    );
}

/** How the list names a file: relative to the list's own folder. */
function fileFrom(list: string, file: string): string {
  return relative(dirname(resolve(list)), resolve(file));
}
