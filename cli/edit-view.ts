/** An edit as a person sees it: tokens, the falling loss, before and after, the numbers. */
import type { Edit, Update } from '../src/edit/edit.ts';
import type { Success } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { updateNumbers } from '../src/edit/record.ts';
import { targetText } from '../src/edit/request.ts';
import type { EditRows } from '../src/edit/rows.ts';
import { sentence } from '../src/edit/template.ts';
import type { TraceRow } from '../src/edit/value-loss.ts';
import type { EditedWeight } from '../src/models/architecture.ts';
import type { Prediction } from '../src/models/predict.ts';
import type { Tokenizer } from '../src/models/tokenizer.ts';
import { percent, plural, short } from '../src/numerals.ts';
import { quoted } from '../src/printable.ts';
import { norm } from '../src/statistics.ts';
import { cut, left, right, type Cell } from '../src/table.ts';
import { printStrip, type Answer, type Check } from './predict.ts';
import type { Terminal } from './terminal.ts';

const LISTED = 5;
const NAME_COLUMNS = 8;
const NUMBER_COLUMNS = 6;
const LEAST_TOKEN = 8;

const COLOURS = {
  ok: 'green',
  suspect: 'yellow',
  disabling: 'red',
  took: 'green',
  partly: 'yellow',
  missed: 'red',
} as const;

/** What the model says at one moment: after the prompt, and after the texts of --check. */
export interface State {
  readonly target: Prediction;
  readonly answers: readonly Answer[];
}

interface Outcome {
  readonly update: Update;
  readonly after: State;
  readonly success: Success;
}

/** An edit by every method, and what the model says before and after. */
export interface Comparison {
  readonly edit: Edit;
  readonly before: State;
  readonly outcomes: readonly Outcome[];
}

/** The prompt token by token, where the edit reads and writes, and what is odd about it. */
export function showTokens(terminal: Terminal, tokenizer: Tokenizer, rows: EditRows): void {
  const bare = rows.rewrites[0];
  if (!bare) return;
  const tokens = bare.ids.slice(0, bare.promptLength).map((id) => tokenizer.token(id));
  terminal.heading('Prompt');
  printStrip(terminal, tokens, bare.lookup, `the subject's last token (${bare.lookup})`);
  const target = rows.targetIds.map((id) => `${quoted(tokenizer.token(id))} (${id})`).join(' ');
  terminal.say(`  target ${target}`, '    ');
  for (const { message } of rows.warnings) {
    const [first = '', ...more] = message.split('\n');
    terminal.say(`  warning: ${first}`, '    ', 'yellow');
    for (const line of more) terminal.print(terminal.paint('yellow', line));
  }
}

const BARS = '▁▂▃▄▅▆▇█';

/** Numbers as a row of bars, the largest as high as a line. */
export function sparkline(values: readonly number[]): string {
  const most = Math.max(...values, Number.MIN_VALUE);
  const bar = (value: number): number => Math.min(BARS.length - 1, Math.floor((value / most) * BARS.length));
  return values.map((value) => BARS[Math.max(0, bar(value))] ?? '?').join('');
}

/** The loss of each step: on a terminal as it falls, elsewhere afterwards in a few lines. */
export function lossView(terminal: Terminal, layer: number, contexts: number) {
  terminal.heading(`Search for the value v* at layer ${layer}, over ${plural(contexts, 'context')}`);
  let first = NaN;
  const step = (row: TraceRow, number: number): void => {
    if (!terminal.live) return;
    if (number === 0) {
      first = row.loss;
      terminal.print(terminal.paint('dim', '  step      loss  p(target)   |delta|'));
    }
    const numbers = `  ${String(number).padStart(4)}  ${row.loss.toFixed(4).padStart(8)}  ${percent(Math.log(row.probability)).padStart(9)}  ${short(row.deltaNorm).padStart(8)}`;
    const room = Math.min(36, terminal.columns - numbers.length - 3);
    const bar = room > 3 ? '█'.repeat(Math.max(1, Math.round((row.loss / first) * room))) : '';
    terminal.print(`${numbers}  ${terminal.paint('cyan', bar.slice(0, room))}`);
  };
  const end = ({ trace, vectors, stepTokens }: Edit): void => {
    const losses = trace.map(({ loss }) => loss);
    if (!terminal.live) {
      const chances = trace.map(({ probability: p }) => (p >= 0.001 ? p.toFixed(4) : p.toExponential(0)));
      terminal.say(`  loss       ${losses.map((loss) => loss.toFixed(4)).join(' ')}`, '             ');
      terminal.say(`  p(target)  ${chances.join(' ')}`, '             ');
      terminal.print(`  ${sparkline(losses)}`);
    }
    const last = trace.at(-1);
    if (!last) return;
    const terms = `nll ${short(last.nll)}, kl ${short(last.kl)}, decay ${short(last.decay)}`;
    terminal.say(
      `  ${plural(trace.length, 'step')} of ${plural(stepTokens, 'token')}: loss ${short(losses[0] ?? NaN)} to ${short(last.loss)} (${terms}); ` +
        `|delta| ${short(norm(vectors.delta))}, |v0| ${short(norm(vectors.v_prompt))}`,
      '    ',
    );
  };
  return { step, end };
}

/** What the model says after the prompt, before and after each update, side by side. */
export function showComparison(terminal: Terminal, { edit, before, outcomes }: Comparison): void {
  const { request } = edit;
  terminal.heading('Before and after');
  terminal.say(`  ${sentence(request)} ...`, '  ', 'dim');
  const states = [before, ...outcomes.map(({ after }) => after)].map(({ target }) => target);
  const titles = outcomes.map(({ update }) => `after ${METHOD_TABLE[update.method].title}, %`);
  const wanted = targetText(request);
  // Side by side if need be with shortened tokens, as long as one still recognises them.
  const room = Math.floor((terminal.columns - NAME_COLUMNS) / states.length) - 2 - NUMBER_COLUMNS - 1;
  const cell = ({ next, continuationLogprob }: Prediction, rank: number): Cell => {
    if (rank === LISTED) return points(continuationLogprob);
    const found = next[rank];
    if (!found) return undefined;
    const token = quoted(found.token);
    const text = `${points(found.logprob)} ${room >= LEAST_TOKEN ? cut(token, room) : token}`;
    // A target of several tokens begins with the likeliest one's text.
    return wanted.startsWith(found.token) && found.token.trim() !== ''
      ? { text, paint: (plain) => terminal.paint(['bold', 'green'], plain) }
      : text;
  };
  const name = { text: '  target', paint: (text: string) => terminal.paint('bold', text) };
  const ranks = Array.from({ length: LISTED + 1 }, (_, rank) => rank);
  terminal.table(ranks, [
    left('', (rank) => (rank === LISTED ? name : `  ${rank + 1}`)),
    ...states.map((state, i) => left(['before, %', ...titles][i] ?? '', (rank: number) => cell(state, rank))),
  ]);
}

/** A probability in points of a hundred, as wide as any. */
function points(logprob: number): string {
  return percent(logprob).slice(0, -2).padStart(NUMBER_COLUMNS);
}

/** The norms of each update, whether it took, and whether it leaves the model whole. `layout` is that of W in its file. */
export function showNumbers(
  terminal: Terminal,
  { edit, outcomes }: Comparison,
  solver: string,
  layout: EditedWeight['layout'],
): void {
  terminal.heading(`The update W += ${layout === 'in-out' ? 'u lambda^T' : 'lambda u^T'}`);
  const delta = short(norm(edit.vectors.delta));
  const judged = (word: keyof typeof COLOURS): Cell => ({
    text: word,
    paint: (text) => terminal.paint(COLOURS[word], text),
  });
  terminal.table(outcomes, [
    left('  method', ({ update }) => `  ${METHOD_TABLE[update.method].title}`),
    right('|delta|', () => delta),
    right('key.u', ({ update }) => short(update.divisor)),
    right('cosine', ({ update }) => short(update.cosine)),
    right('|lambda|', ({ update }) => short(update.lambdaNorm)),
    right('|Delta|', ({ update }) => update.normalisedUpdate.toExponential(2)),
    right('relative', ({ update }) => short(update.relativeUpdate)),
    left('verdict', ({ update }) => judged(update.verdict)),
    left('success', ({ success }) => judged(success)),
  ]);
  const solved = outcomes[0]?.update.solved;
  const how =
    solved && solved.tokens > 0 ? `: residual ${short(solved.residual)}, ridge ${short(solved.ridge)}` : '';
  terminal.say(`  u from ${solver}${how}`, '    ', 'dim');
}

/** An edit as `--json` has it. Names are a contract: numbers are unrounded, vectors are in the dump file. */
export function editResult({ edit, before, outcomes }: Comparison, checks: readonly Check[]): object {
  const { request, trace, vectors, rows } = edit;
  const probe = ({ target }: State): object => ({
    target_logprob: target.continuationLogprob,
    next: target.next,
  });
  const byMethod = <T>(value: (outcome: Outcome) => T): Record<string, T> =>
    Object.fromEntries(outcomes.map((outcome) => [outcome.update.method, value(outcome)]));
  const checked = (check: Check, i: number): object => ({
    ...check,
    before: before.answers[i],
    after: byMethod(({ after }) => after.answers[i]),
  });
  return {
    request: { ...request, target_ids: rows.targetIds },
    layer: edit.layer,
    contexts: edit.contexts,
    lookups: rows.rewrites.map(({ lookup }) => lookup),
    warnings: edit.warnings,
    optimisation: {
      steps: trace.length,
      loss: trace.map(({ loss }) => loss),
      nll: trace.map(({ nll }) => nll),
      kl: trace.map(({ kl }) => kl),
      weight_decay: trace.map(({ decay }) => decay),
      probability: trace.map(({ probability }) => probability),
      delta_norm: norm(vectors.delta),
      v_init_norm: norm(vectors.v_prompt),
    },
    updates: byMethod(({ update, success, after }) => ({
      ...updateNumbers(update),
      success,
      after: probe(after),
    })),
    before: probe(before),
    checks: checks.length === 0 ? undefined : checks.map(checked),
  };
}
