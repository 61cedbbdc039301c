/** The edits of a list, and whether the model they make together says what each of them wants. */
import { METHOD_TABLE } from '../src/edit/method.ts';
import { lookupSubject } from '../src/edit/subject.ts';
import { fill, readTemplate } from '../src/edit/template.ts';
import { predict } from '../src/models/predict.ts';
import type { Model } from '../src/models/model.ts';
import { applyNamed } from './session.ts';
import type { Session } from './session.ts';
import { SHORT_ID } from './edit-files.ts';
import type { NamedEdit } from './edit-files.ts';
import { percent } from './terminal.ts';
import type { Terminal } from './terminal.ts';
import { cut } from './text-width.ts';

/** Log-probability per token of an edit's target, without any edit and with all of them. */
export interface Checked {
  readonly id: string;
  readonly before: number;
  readonly after: number;
}

/** Asks the model for every edit's target, puts all edits into it, and asks again. */
export async function checkEdits(session: Session): Promise<Checked[]> {
  const { model, edits, timed } = session;
  const ask = async (): Promise<number[]> => {
    const found: number[] = [];
    for (const edit of edits) found.push(await timed('check', () => targetLogprob(model, edit)));
    return found;
  };
  const before = await ask();
  await applyNamed(session);
  const after = await ask();
  return edits.map(({ id }, i) => ({ id, before: before[i] ?? NaN, after: after[i] ?? NaN }));
}

async function targetLogprob(model: Model, { record }: NamedEdit): Promise<number> {
  const { prompt, subject, targetIds } = record.request;
  const template = readTemplate(prompt, 'prompt', 'Make the edit again.');
  const { ids } = lookupSubject(model.tokenizer, template, subject);
  return (await predict(model, ids, 1, targetIds)).continuationLogprob;
}

export function sentenceOf({ record }: NamedEdit): string {
  const { prompt, subject, target } = record.request;
  return `${fill(readTemplate(prompt, 'prompt', ''), `[${subject}]`)} → ${target}`;
}

/** A table of edits; with `checked`, what the model makes of each. */
export function showEdits(
  terminal: Terminal,
  edits: readonly NamedEdit[],
  checked: readonly Checked[] = [],
): void {
  if (edits.length === 0) return;
  const room = Math.max(20, terminal.columns - (checked.length > 0 ? 54 : 34));
  const rows = edits.map((edit, i) => {
    const { layer, method } = edit.record;
    const found = checked[i];
    const probabilities = found ? [percent(found.before), percent(found.after)] : [];
    return [
      String(i + 1),
      edit.id.slice(0, SHORT_ID),
      METHOD_TABLE[method].title,
      String(layer),
      ...probabilities,
      cut(sentenceOf(edit), room),
    ];
  });
  const right = 'right' as const;
  terminal.table(
    [
      { title: '#', align: right },
      { title: 'id' },
      { title: 'method' },
      { title: 'layer', align: right },
      ...(checked.length > 0
        ? [
            { title: 'base', align: right },
            { title: 'edited', align: right },
          ]
        : []),
      { title: 'edit' },
    ],
    rows,
  );
}
