/** `palimpsest predict TEXT...`: what the model would say next, without and with edits. `edit --check` asks it, too. */
import * as v from 'valibot';
import { UsageError } from '../src/errors.ts';
import { readText } from '../src/io/file.ts';
import { jsonIfAny } from '../src/json.ts';
import type { Model } from '../src/models/model.ts';
import { predict as predictNext, type NextToken } from '../src/models/predict.ts';
import { percent } from '../src/numerals.ts';
import { quoted } from '../src/printable.ts';
import { cut, left, right, textWidth, type Column } from '../src/table.ts';
import { command } from './commands.ts';
import { MODEL_FLAGS, whole } from './flags.ts';
import { applyNamed, introduce, noteBrackets, withSession } from './session.ts';
import type { Terminal } from './terminal.ts';

const TOP = 10;

export const predict = command({
  positionals: { text: { type: 'string', array: true, describe: 'each a text in quotes' } },
  flags: {
    top: whole(`how many tokens [default: ${TOP}]`, 1),
    compare: { type: 'boolean', implies: 'edits', describe: 'with --edits: what it said before them, too' },
    ...MODEL_FLAGS,
  },
  examples: {
    '$0 predict "The mother tongue of Danielle Darrieux is"': 'the bundled model knows it',
    '$0 predict "The mother tongue of Danielle Darrieux is" "The mother tongue of Jean Gabin is" --compare --edits darrieux.safetensors':
      'several texts before and after an edit',
  },
  run: (args, run) => {
    const checks = (args.text ?? []).map((prompt): Check => ({ prompt: String(prompt) }));
    for (const { prompt } of checks)
      if (prompt === '')
        throw new UsageError(
          'text: expected some text to continue, found none. palimpsest predict "The capital of"',
        );
    return withSession(args, run, {}, async (session) => {
      const { model, timed, terminal } = session;
      introduce(session);
      noteBrackets(session, args.text ?? []);
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
      const { text: _, ...one } = only ?? { text: '' };
      const result = found.length === 1 ? one : { texts: found };
      return session.report(result);
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
  const token = (title: string, list: readonly NextToken[]): Column<NextToken>[] => [
    left(title, (_, rank) => list[rank] && quoted(list[rank].token)),
    right('id', (_, rank) => list[rank]?.id),
    right('p', (_, rank) => list[rank] && percent(list[rank].logprob)),
  ];
  terminal.table(next, [
    right('', (_, rank) => rank + 1),
    ...(before ? token('before', before) : []),
    ...token(before ? 'after' : 'next', next),
    left('', ({ logprob }) => '█'.repeat(Math.round((Math.exp(logprob) / likeliest) * room))),
  ]);
}

/** Stands between tokens; as good as never part of one. */
const BAR = '│';
const INDENT = '  ';

/** A token as it stands in the strip: its blank stays a blank, line breaks and other controls are escaped. */
function shown(token: string): string {
  return quoted(token).slice(1, -1).replaceAll('\\"', '"').replaceAll('\\\\', '\\');
}

/**
 * Lines of the strip, broken between tokens; below the line that holds token `marked`, carets and `remark`.
 *
 *   The│ mother│ tongue│ of│ Danielle│ Dar│rie│ux│ is
 *                                              ^^ the subject's last token
 */
export function printStrip(
  terminal: Terminal,
  tokens: readonly string[],
  marked?: number,
  remark = '',
): void {
  let line = '';
  let used = INDENT.length; // columns of the line, colours not counted
  let carets = '';
  const end = (): void => {
    terminal.print(INDENT + line);
    if (carets !== '') printCarets(terminal, carets, remark);
    [line, used, carets] = ['', INDENT.length, ''];
  };
  tokens.forEach((token, i) => {
    const text = shown(token);
    const width = textWidth(text);
    if (line !== '' && used + 1 + width > terminal.columns) end();
    if (line !== '') {
      line += terminal.paint('dim', BAR);
      used += 1;
    }
    // A token's blank is no part of the word that the carets stand under.
    const blanks = text.length - text.trimStart().length;
    if (i === marked) carets = ' '.repeat(used + blanks) + '^'.repeat(Math.max(1, width - blanks));
    line += i === marked ? terminal.paint(['bold', 'cyan'], text) : text;
    used += width;
  });
  if (line !== '') end();
}

function printCarets(terminal: Terminal, carets: string, remark: string): void {
  if (carets.length + 1 + textWidth(remark) <= terminal.columns) {
    terminal.print(terminal.paint('cyan', `${carets} ${remark}`));
    return;
  }
  terminal.print(terminal.paint('cyan', carets));
  terminal.say(INDENT + remark, INDENT, 'cyan');
}

/** A text, and what the model is expected to say after it. */
export type Check = Readonly<v.InferOutput<typeof CHECK>>;

/** What the model says after a text, as `--json` has it. */
export type Answer = Awaited<ReturnType<typeof answer>>[number];

const CHECK = v.object({ prompt: v.string(), expect: v.optional(v.string()) });

/**
 * The texts of `--check FILE`: a text a line, a JSON object a line, or one JSON array of either.
 *
 * @throws UsageError naming the line
 */
export async function readChecks(path: string): Promise<Check[]> {
  const content = await readText(path, (what) => new UsageError(`--check ${path}: ${what}.`));
  const whole = jsonIfAny(content.trimStart().startsWith('[') ? content : '');
  const entries = Array.isArray(whole)
    ? whole
    : content
        .split(/\r?\n/)
        .flatMap((line) => (line.trim() === '' ? [] : [line.startsWith('{') ? jsonIfAny(line) : line]));
  if (entries.length === 0) throw new UsageError(`--check ${path}: expected texts, a line each, found none.`);
  return entries.map((entry, i) => {
    const { success, output } = v.safeParse(CHECK, typeof entry === 'string' ? { prompt: entry } : entry);
    if (success && output.prompt !== '') return output;
    throw new UsageError(
      `--check ${path}: entry ${i + 1}: expected a text, or {"prompt": "...", "expect": "..."}, found ${cut(JSON.stringify(entry) ?? 'no JSON', 60)}.`,
    );
  });
}

/** What the model says after each text on its current weights, best first. */
export async function answer(model: Model, checks: readonly Check[], count: number) {
  const answers = [];
  for (const { prompt, expect } of checks) {
    const continuation =
      expect === undefined ? [] : model.tokenizer.encodeTarget(prompt, expect.trimStart()).target;
    const found = await predictNext(model, prompt, { count, continuation });
    // ln p per token, and whether every token is the likeliest.
    const expected = { expect_logprob: found.continuationLogprob, holds: found.continuationFirst };
    answers.push({ next: found.next, ...(expect !== undefined && expected) });
  }
  return answers;
}

/** One row a text: the likeliest next token in each state, and how likely what is expected. */
export function showAnswers(
  terminal: Terminal,
  checks: readonly Check[],
  states: readonly { readonly title: string; readonly answers: readonly Answer[] }[],
): void {
  const expects = checks.some(({ expect }) => expect !== undefined);
  const room = Math.max(16, terminal.columns - 26 * states.length - (expects ? 14 * (states.length + 1) : 0));
  const first = states[0]?.answers;
  const says = states.map(({ title, answers }) =>
    left(title, (_: Check, i) => {
      const top = answers[i]?.next[0];
      if (!top) return undefined;
      const text = `${cut(quoted(top.token), 14)} ${percent(top.logprob)}`;
      const isSame = top.id === first?.[i]?.next[0]?.id;
      return isSame ? text : { text, paint: (plain) => terminal.paint('yellow', plain) };
    }),
  );
  const expected = [
    left('expected', ({ expect }: Check) => (expect === undefined ? '' : cut(quoted(expect), 14))),
    ...states.map(({ title, answers }) =>
      left(`p ${title}`, (_: Check, i) => {
        const { expect_logprob: logprob } = answers[i] ?? {};
        return logprob === undefined ? '' : percent(logprob);
      }),
    ),
  ];
  const text = left('text', ({ prompt }: Check) =>
    prompt.length > room ? `…${prompt.slice(1 - room)}` : prompt,
  );
  terminal.table(checks, [text, ...says, ...(expects ? expected : [])]);
}
