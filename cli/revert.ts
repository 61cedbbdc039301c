/** `palimpsest revert IDS...`: takes edits out of a list, wherever they stand in it. */
import { UsageError } from '../src/errors.ts';
import { DEFAULT_LIST, LIST_FLAGS, keepList } from './apply.ts';
import { command } from './command.ts';
import { SHORT_ID, readEdits } from './edit-files.ts';
import type { NamedEdit } from './edit-files.ts';
import { checkWritable } from './out-file.ts';

const LEAST_ID = 4;

export const revert = command({
  flags: (yargs) =>
    yargs
      .positional('edits', {
        type: 'string',
        array: true,
        describe: `numbers, or ids of ${LEAST_ID} characters or more, as history shows them`,
      })
      .options(LIST_FLAGS),
  run: async (args, run) => {
    const path = args.list ?? DEFAULT_LIST;
    await checkWritable('--list', path);
    const here = await readEdits([path]);
    const out = new Set((args.edits ?? []).map((word) => findEdit(String(word), here, path)));
    const kept = here.filter((edit) => !out.has(edit));
    // The model is the base and what is left, computed anew: nothing is subtracted, so nothing remains of the edit.
    return keepList(path, here.length, kept, args, run);
  },
});

function findEdit(word: string, edits: readonly NamedEdit[], path: string): NamedEdit {
  const byNumber = /^\d+$/.test(word) ? edits[Number(word) - 1] : undefined;
  if (byNumber) return byNumber;
  const byId = word.length >= LEAST_ID ? edits.filter(({ id }) => id.startsWith(word.toLowerCase())) : [];
  if (byId.length === 1 && byId[0]) return byId[0];
  const there = edits.map(({ id }, i) => `${i + 1} (${id.slice(0, SHORT_ID)})`).join(', ') || 'none';
  throw new UsageError(
    `revert ${word}: expected the number or id of one edit in ${path}, it ${byId.length > 1 ? `fits ${byId.length}` : 'fits none'}. There: ${there}.`,
  );
}
