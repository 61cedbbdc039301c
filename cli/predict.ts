/** `palimpsest predict TEXT...`: what the model would say next, without and with edits. */
import { UsageError } from '../src/errors.ts';
import type { NextToken } from '../src/models/predict.ts';
import { answer, showAnswers } from './checks.ts';
import type { Check } from './checks.ts';
import { command } from './command.ts';
import { MODEL_FLAGS, number } from './flags.ts';
import { applyNamed, introduce, reportTimings, withSession } from './session.ts';
import { printStrip } from './table.ts';
import type { Cell } from './table.ts';
import type { Terminal } from './terminal.ts';
import { percent, quoted } from './text.ts';

const TOP = 10;

export const predict = command({
  flags: (yargs) =>
    yargs
      .positional('text', { type: 'string', array: true, describe: 'each a text in quotes' })
      .options({
        top: number('--top', `how many tokens [default: ${TOP}]`, { integer: true, min: 1 }),
        compare: {
          type: 'boolean',
          implies: 'edits',
          describe: 'with --edits: what it said before them, too',
        },
      })
      .options(MODEL_FLAGS)
      .example('$0 predict "The mother tongue of Danielle Darrieux is"', 'the bundled model knows it')
      .example(
        '$0 predict "The mother tongue of Danielle Darrieux is" "The mother tongue of Jean Gabin is" --compare --edits darrieux.safetensors',
        'several texts before and after an edit',
      ),
  run: (args, run) => {
    const checks = (args.text ?? []).map((prompt): Check => ({ prompt: String(prompt) }));
    for (const { prompt } of checks)
      if (prompt === '')
        throw new UsageError(
          'text: expected some text to continue, found none. palimpsest predict "The capital of"',
        );
    return withSession(args, run, async (session) => {
      const { model, timed } = session;
      const { terminal } = run;
      introduce(session, run);
      const ask = () => timed('predict', () => answer(model, checks, args.top ?? TOP));
      const before = args.compare ? await ask() : undefined;
      await applyNamed(session);
      const after = await ask();

      const found = checks.map(({ prompt }, i) => {
        const ids = model.tokenizer.encode(prompt);
        const tokens = ids.map((id) => model.tokenizer.token(id));
        return { text: prompt, ids, tokens, next: after[i]?.next ?? [], before: before?.[i]?.next };
      });
      const [only] = found;
      if (found.length === 1 && only) showNext(terminal, only);
      else
        showAnswers(terminal, checks, [
          ...(before ? [{ title: 'before', answers: before }] : []),
          { title: before ? 'after' : 'next', answers: after },
        ]);
      reportTimings(session, run);
      const { text: _, ...one } = only ?? { text: '' };
      const result = found.length === 1 ? one : { texts: found };
      return { ...session.about, result, timings_ms: session.timings };
    });
  },
});

interface Found {
  readonly tokens: readonly string[];
  readonly next: readonly NextToken[];
  readonly before: readonly NextToken[] | undefined;
}

/** The text token by token, and the likeliest next tokens; before and after edits side by side. */
function showNext(terminal: Terminal, { tokens, next, before }: Found): void {
  printStrip(terminal, tokens);
  terminal.print();
  const likeliest = Math.exp(next[0]?.logprob ?? 0);
  const room = Math.min(30, Math.max(4, terminal.columns - (before ? 70 : 45)));
  const cells = (found: NextToken | undefined): Cell[] =>
    found ? [quoted(found.token), String(found.id), percent(found.logprob)] : ['', '', ''];
  const heads = (title: string) => [
    { title },
    { title: 'id', align: 'right' as const },
    { title: 'p', align: 'right' as const },
  ];
  terminal.table(
    [
      { title: '', align: 'right' },
      ...(before ? heads('before') : []),
      ...heads(before ? 'after' : 'next'),
      { title: '' },
    ],
    next.map((found, rank) => [
      String(rank + 1),
      ...(before ? cells(before[rank]) : []),
      ...cells(found),
      '█'.repeat(Math.round((Math.exp(found.logprob) / likeliest) * room)),
    ]),
  );
}
