/** An edit as a person sees it: tokens, the falling loss, before and after, the numbers. */
import type { Edit } from '../src/edit/edit.ts';
import type { TraceRow } from '../src/edit/loss-trace.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import type { EditRows } from '../src/edit/rows.ts';
import type { Tokenizer } from '../src/models/tokenizer.ts';
import { norm } from '../src/statistics.ts';
import type { Probe } from './edit-result.ts';
import { printStrip, sparkline } from './table.ts';
import type { Cell } from './table.ts';
import { cut, percent, plural, quoted, short } from './text.ts';
import type { Terminal } from './terminal.ts';

/** Tokens listed before and after. */
const LISTED = 5;
const NAME_COLUMNS = 8;
const NUMBER_COLUMNS = 6;
const LEAST_TOKEN = 8;

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

/** The loss of each step: on a terminal as it falls, elsewhere afterwards in a few lines. */
export class LossView {
  readonly #terminal: Terminal;
  #first = 0;

  constructor(terminal: Terminal, layer: number, contexts: number) {
    this.#terminal = terminal;
    terminal.heading(`Search for the value v* at layer ${layer}, over ${plural(contexts, 'context')}`);
  }

  step(row: TraceRow, step: number): void {
    const terminal = this.#terminal;
    if (!terminal.live) return;
    if (step === 0) {
      this.#first = row.loss;
      terminal.print(terminal.paint('dim', '  step      loss  p(target)   |delta|'));
    }
    const numbers = `  ${String(step).padStart(4)}  ${row.loss.toFixed(4).padStart(8)}  ${percent(Math.log(row.probability)).padStart(9)}  ${short(row.deltaNorm).padStart(8)}`;
    const room = Math.min(36, terminal.columns - numbers.length - 3);
    const bar = room > 3 ? '█'.repeat(Math.max(1, Math.round((row.loss / this.#first) * room))) : '';
    terminal.print(`${numbers}  ${terminal.paint('cyan', bar.slice(0, room))}`);
  }

  end({ trace, vectors, stepTokens }: Edit): void {
    const terminal = this.#terminal;
    if (!terminal.live) {
      terminal.say(`  loss       ${trace.map(({ loss }) => loss.toFixed(4)).join(' ')}`, '             ');
      terminal.say(
        `  p(target)  ${trace.map(({ probability }) => (probability >= 0.001 ? probability.toFixed(4) : probability.toExponential(0))).join(' ')}`,
        '             ',
      );
      terminal.print(`  ${sparkline(trace.map(({ loss }) => loss))}`);
    }
    const [first, last] = [trace[0], trace.at(-1)];
    if (!first || !last) return;
    const terms = `nll ${short(last.nll)}, kl ${short(last.kl)}, decay ${short(last.decay)}`;
    terminal.say(
      `  ${plural(trace.length, 'step')} of ${plural(stepTokens, 'token')}: loss ${short(first.loss)} to ${short(last.loss)} (${terms}); ` +
        `|delta| ${short(norm(vectors.delta))}, |v0| ${short(norm(vectors.v_prompt))}`,
      '    ',
    );
  }
}

/** What the model says after the prompt, before and after each update, side by side. */
export function showComparison(
  terminal: Terminal,
  prompt: string,
  target: string,
  before: Probe,
  after: ReadonlyMap<Method, Probe>,
): void {
  terminal.heading('Before and after');
  terminal.say(`  ${prompt} ...`, '  ', 'dim');
  const states = [before, ...after.values()];
  const titles = [
    'before, %',
    ...[...after.keys()].map((method) => `after ${METHOD_TABLE[method].title}, %`),
  ];
  const wanted = ` ${target}`;
  // Side by side if need be with shortened tokens, as long as one still recognises them.
  const room = Math.floor((terminal.columns - NAME_COLUMNS) / states.length) - 2 - NUMBER_COLUMNS - 1;
  const cell = (probe: Probe, rank: number): Cell => {
    const found = probe.next[rank];
    if (!found) return '';
    const token = quoted(found.token);
    const text = `${points(found.logprob)} ${room >= LEAST_TOKEN ? cut(token, room) : token}`;
    // A target of several tokens begins with the likeliest one's text.
    return wanted.startsWith(found.token) && found.token.trim() !== ''
      ? { text, paint: (plain) => terminal.paint(['bold', 'green'], plain) }
      : text;
  };
  const rows: Cell[][] = Array.from({ length: LISTED }, (_, rank) => [
    `  ${rank + 1}`,
    ...states.map((probe) => cell(probe, rank)),
  ]);
  const name = { text: '  target', paint: (text: string) => terminal.paint('bold', text) };
  rows.push([name, ...states.map(({ target_logprob }) => points(target_logprob))]);
  terminal.table([{ title: '' }, ...titles.map((title) => ({ title }))], rows);
}

/** A probability in points of a hundred, as wide as any. */
function points(logprob: number): string {
  return percent(logprob).slice(0, -2).padStart(NUMBER_COLUMNS);
}

/** The line of norms of each method, and what it means. */
export function showNumbers(terminal: Terminal, edit: Edit, covariance: string): void {
  terminal.heading('The update W += u lambda^T');
  const delta = short(norm(edit.vectors.delta));
  const paint = { ok: 'green', suspect: 'yellow', disabling: 'red' } as const;
  const rows = [...edit.updates.values()].map((update): Cell[] => [
    `  ${METHOD_TABLE[update.method].title}`,
    delta,
    short(update.divisor),
    short(update.cosine),
    short(update.lambdaNorm),
    update.normalisedUpdate.toExponential(2),
    short(update.relativeUpdate),
    { text: update.verdict, paint: (text) => terminal.paint(paint[update.verdict], text) },
  ]);
  const heads = ['|delta|', 'key.u', 'cosine', '|lambda|', '|Delta|', 'relative'];
  terminal.table(
    [
      { title: '  method' },
      ...heads.map((title) => ({ title, align: 'right' as const })),
      { title: 'verdict' },
    ],
    rows,
  );
  const solved = [...edit.updates.values()][0]?.solved;
  const how =
    solved && solved.tokens > 0 ? `: residual ${short(solved.residual)}, ridge ${short(solved.ridge)}` : '';
  terminal.say(`  u from ${covariance}${how}`, '    ', 'dim');
}
