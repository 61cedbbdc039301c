/** `palimpsest apply`, `revert`, `history`: the edits of an edit list, and what the model makes of them together. */
import { dirname, relative, resolve } from 'node:path';
import { requestsOf, targetsOf } from '../src/edit/facts-record.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { exists } from '../src/io/file.ts';
import { jsonIfAny } from '../src/json.ts';
import { checkEdits } from '../src/lab/health.ts';
import { percent, plural } from '../src/numerals.ts';
import { cut, left, right, type Column } from '../src/table.ts';
import { command, type Report, type Run } from './commands.ts';
import {
  madeOn,
  sentenceOf,
  namedEditResult,
  readEditList,
  readEdits,
  shortId,
  warnOfUnverified,
  withList,
  writeEditList,
  leaveOut,
} from './edit-list.ts';
import type { NamedEdit } from './edit-list.ts';
import { KINDS } from './files.ts';
import { MODEL_FLAGS, changed, files, flag, input, or, type Given } from './flags.ts';
import { introduce, withSession } from './session.ts';
import type { Terminal } from './terminal.ts';

export const DEFAULT_LIST = 'edits.json';
const LEAST_ID = 4;

const { edits: _, ...MODEL_WITHOUT_EDITS } = MODEL_FLAGS;
const LIST_FLAGS = {
  ...MODEL_WITHOUT_EDITS,
  list: or(DEFAULT_LIST, changed('the edit list', KINDS.list)),
  check: flag('ask the model for every target; --no-check only writes the list', true),
} as const;

type Checked = Awaited<ReturnType<typeof checkEdits>>;
type ListArguments = Given<typeof LIST_FLAGS> & { readonly list: string };

export const apply = command({
  positionals: { files: files('edit files, other edit lists, or folders of sequence runs') },
  flags: LIST_FLAGS,
  examples: { '$0 apply darrieux.safetensors': 'edits.json now holds this edit, too' },
  run: async (args, run) => {
    const path = args.list;
    return withList(path, run, async () => {
      const added = await readEdits(args.files ?? []);
      const here = (await exists(path)) ? await readEdits([path]) : [];
      for (const [i, edit] of added.entries()) checkNew(edit, [...here, ...added.slice(0, i)], path);
      return keepList(path, here.length, [...here, ...added], args, run);
    });
  },
});

export const revert = command({
  positionals: {
    edits: {
      type: 'string',
      array: true,
      describe: `numbers, or ids of ${LEAST_ID} characters or more, as history shows them; 2.5 is batch 5 of a file of many facts`,
    },
  },
  flags: LIST_FLAGS,
  examples: { '$0 revert 1': 'takes the first edit out; the others stay as they are' },
  run: async (args, run) => {
    const path = args.list;
    return withList(path, run, async () => {
      const here = await readEdits([path]);
      let kept = here;
      for (const word of (args.edits ?? []).map(String)) {
        const { edit, batch } = findEdit(word, here, path);
        const now = kept.find(({ id }) => id === edit.id);
        if (!now) continue; // named twice
        const left = batch === undefined ? undefined : leaveOut(now, [batch], `revert ${word}`);
        const isEmpty = left === undefined || requestsOf(left.record).length === 0;
        kept = kept.flatMap((one) => (one.id !== edit.id ? [one] : isEmpty ? [] : [left]));
      }
      // The model is the base and what is left, computed anew: nothing is subtracted, so nothing remains of the edit.
      return keepList(path, here.length, kept, args, run);
    });
  },
});

export const history = command({
  flags: { list: input(`the edit list [default: ${DEFAULT_LIST}]`) },
  examples: { '$0 history': 'what edits.json holds' },
  run: async (args, { terminal }) => {
    const path = args.list ?? DEFAULT_LIST;
    const { model } = await readEditList(path);
    const edits = await readEdits([path]);
    warnOfUnverified(edits, terminal);
    terminal.say(
      `${path}: base ${model.id} (sha256 ${model.sha256.slice(0, 12)}) → ${plural(edits.length, 'edit')}`,
    );
    const base = right('made on', (edit: NamedEdit) => baseOf(edit, edits));
    showEdits(terminal, edits, base);
    const moved = edits.flatMap((edit, i) => {
      const here = edits.slice(0, i).map(({ id }) => id);
      return here.join() === madeOn(edit).join() ? [] : [i + 1];
    });
    if (moved.length > 0)
      terminal.say(
        `Made on other edits than those before it here: ${moved.join(', ')}. What was shown then may not hold now; palimpsest apply asks the model.`,
      );
    const list = edits.map((edit) => {
      const { covariance, numbers } = edit.record.metadata;
      return {
        ...namedEditResult(edit),
        made_on: madeOn(edit),
        covariance,
        numbers: jsonIfAny(numbers ?? '') ?? null,
      };
    });
    return { model, result: { list: path, edits: list } };
  },
});

/** Checks the edits together in the model, then writes the list: what `apply` and `revert` end with. */
async function keepList(
  path: string,
  earlier: number,
  edits: readonly NamedEdit[],
  args: ListArguments,
  run: Run,
): Promise<Report> {
  const { terminal } = run;
  const model = edits[0]?.record.model ?? (await readEditList(path)).model;
  const write = async (): Promise<void> => {
    const listed = edits.map(({ file, id, without }) => ({
      file: relative(dirname(resolve(path)), resolve(file)),
      sha256: id,
      ...(without.length > 0 && { without: [...without] }),
    }));
    await writeEditList(path, { model, edits: listed });
    if (edits.length > 0) terminal.print();
    const change = edits.length - earlier;
    terminal.say(
      `${path}: base ${model.id} → ${plural(edits.length, 'edit')} (${change >= 0 ? '+' : ''}${change})`,
    );
  };
  const result = { list: path, model, edits: edits.map(namedEditResult) };
  if (!args.check || edits.length === 0) {
    warnOfUnverified(edits, terminal);
    showEdits(terminal, edits);
    await write();
    return { model, result };
  }
  return withSession(args, run, { edits }, async (session) => {
    introduce(session);
    const checked = await checkEdits(session.model, edits, session.timed);
    const asked = (title: string, state: 'before' | 'applied' | 'after'): Column<NamedEdit> =>
      right(title, (_, i) => percent(checked[i]?.[state] ?? NaN));
    showEdits(terminal, edits, asked('base', 'before'), asked('applied', 'applied'), asked('now', 'after'));
    warnOfFallen(checked, edits, terminal);
    await write();
    return session.report({ ...result, checked });
  });
}

function warnOfFallen(checked: Checked, edits: readonly NamedEdit[], terminal: Terminal): void {
  for (const [i, edit] of edits.entries()) {
    const found = checked[i];
    if (!found?.fallen) continue;
    terminal.warn(
      `edit ${i + 1} (${shortId(edit)}: ${sentenceOf(edit)}) has fallen: its target had ${percent(found.applied)} when it was applied, ` +
        `and has ${percent(found.after)} with the edits after it. Take one of these out with palimpsest revert, or make edit ${i + 1} anew on top of them.`,
    );
  }
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
      `apply ${edit.file}: expected an edit that is not yet in ${path}, but it is number ${same + 1} (${shortId(edit)}). Applying it twice would double it.`,
      'twice',
    );
}

/** The edit that a word names by number or id, and which batch of it: `2.5`, `1a2b3c4d.5`. */
function findEdit(word: string, edits: readonly NamedEdit[], path: string) {
  const [, name = word, batch] = /^(\w+)\.(\d+)$/.exec(word) ?? [];
  const byNumber = /^\d+$/.test(name) ? edits[Number(name) - 1] : undefined;
  const byId = name.length >= LEAST_ID ? edits.filter(({ id }) => id.startsWith(name.toLowerCase())) : [];
  const edit = byNumber ?? (byId.length === 1 ? byId[0] : undefined);
  if (edit) return { edit, batch: batch === undefined ? undefined : Number(batch) };
  const there = edits.map((edit, i) => `${i + 1} (${shortId(edit)})`).join(', ') || 'none';
  throw new UsageError(
    `revert ${word}: expected the number or id of one edit in ${path}, it ${byId.length > 1 ? `fits ${byId.length}` : 'fits none'}. There: ${there}.`,
  );
}

/** The edits that it was made on, by their numbers in the list; those that are not in it by their ids. */
function baseOf(edit: NamedEdit, edits: readonly NamedEdit[]): string {
  const names = madeOn(edit).map((id) => {
    const at = edits.findIndex((one) => one.id === id);
    return at < 0 ? shortId({ id }) : String(at + 1);
  });
  return names.length === 0 ? 'the base' : names.join(', ');
}

function showEdits(
  terminal: Terminal,
  edits: readonly NamedEdit[],
  ...more: readonly Column<NamedEdit>[]
): void {
  if (edits.length === 0) return;
  const room = Math.max(20, terminal.columns - 34 - 11 * more.length);
  terminal.table(edits, [
    right('#', (_, i) => i + 1),
    left('id', shortId),
    left('method', ({ record }) => METHOD_TABLE[record.method].title),
    right('layer', ({ record }) =>
      targetsOf(record)
        .map(({ layer }) => layer)
        .join(),
    ),
    ...more,
    left('edit', (edit) => cut(sentenceOf(edit), room)),
  ]);
}
