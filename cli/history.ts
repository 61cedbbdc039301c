/** `palimpsest history`: the edits of a list, in order. */
import { DEFAULT_LIST } from './apply.ts';
import { command } from './command.ts';
import { namedEditResult, readEdits } from './edit-files.ts';
import { readEditList } from './edit-list.ts';
import { showEdits } from './edits-view.ts';
import { text } from './flags.ts';
import { plural } from './terminal.ts';

export const history = command({
  flags: (yargs) => yargs.options({ list: text('--list', `the edit list [default: ${DEFAULT_LIST}]`) }),
  run: async (args, { terminal }) => {
    const path = args.list ?? DEFAULT_LIST;
    const { model } = await readEditList(path);
    const edits = await readEdits([path]);
    terminal.say(
      `${path}: base ${model.id} (sha256 ${model.sha256.slice(0, 12)}) → ${plural(edits.length, 'edit')}`,
    );
    showEdits(terminal, edits);
    const list = edits.map((edit) => {
      const { covariance, numbers } = edit.record.metadata;
      return { ...namedEditResult(edit), covariance, numbers: numbersOf(numbers) };
    });
    return { model, result: { list: path, edits: list } };
  },
});

function numbersOf(text: string | undefined): unknown {
  try {
    return text === undefined ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
