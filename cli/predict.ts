/** `palimpsest predict TEXT`: what the model would say next. */
import { UsageError } from '../src/errors.ts';
import { predict as predictNext } from '../src/models/predict.ts';
import { command } from './command.ts';
import { MODEL_FLAGS, number, once } from './flags.ts';
import { applyNamed, introduce, reportTimings, withSession } from './session.ts';
import { percent, quoted } from './text.ts';
import { printStrip } from './table.ts';

const TOP = 10;

export const predict = command({
  flags: (yargs) =>
    yargs
      .positional('text', once('text', 'the text, in quotes'))
      .options(MODEL_FLAGS)
      .options({ top: number('--top', `how many tokens [default: ${TOP}]`, { integer: true, min: 1 }) }),
  run: (args, run) => {
    const text = args.text ?? '';
    if (text === '')
      throw new UsageError(
        'text: expected some text to continue, found none. palimpsest predict "The capital of"',
      );
    return withSession(args, run, async (session) => {
      const { model, timed } = session;
      introduce(session, run);
      const ids = model.tokenizer.encode(text);
      await applyNamed(session);
      const { next } = await timed('predict', () => predictNext(model, ids, args.top ?? TOP));

      const { terminal } = run;
      const tokens = ids.map((id) => model.tokenizer.token(id));
      printStrip(terminal, tokens);
      terminal.print();
      const likeliest = Math.exp(next[0]?.logprob ?? 0);
      const rows = next.map(({ id, token, logprob }, rank) => [
        String(rank + 1),
        quoted(token),
        String(id),
        percent(logprob),
        '█'.repeat(
          Math.round((Math.exp(logprob) / likeliest) * Math.min(30, Math.max(4, terminal.columns - 45))),
        ),
      ]);
      terminal.table(
        [
          { title: '', align: 'right' },
          { title: 'next' },
          { title: 'id', align: 'right' },
          { title: 'p', align: 'right' },
          { title: '' },
        ],
        rows,
      );
      reportTimings(session, run);
      return { ...session.about, result: { ids, tokens, next }, timings_ms: session.timings };
    });
  },
});
