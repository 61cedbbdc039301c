/** `palimpsest edit --facts`: many facts into the model, batch after batch, resumable after kill -9. */
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import { judgeSuccess, type Success } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { EditRefused, UsageError } from '../src/errors.ts';
import { writeFactsRun } from '../src/io/facts-files.ts';
import { readText } from '../src/io/file.ts';
import { writeBatches } from '../src/lab/fact-batches.ts';
import { logprobs, type Rivals } from '../src/lab/metrics.ts';
import { scoreRewrites } from '../src/lab/probes.ts';
import { BATCH_LINE, FACTS_HEAD, NUMBER } from '../src/lab/run-journal.ts';
import type { BatchLine, Entries, FactsHead } from '../src/lab/run-journal.ts';
import { percent, plural, short } from '../src/numerals.ts';
import { left, right, someRows } from '../src/table.ts';
import type { Report, Run } from './commands.ts';
import type { OWN_FLAGS } from './edit.ts';
import { underBar, withFactsRun, writtenFacts, type FactsRun } from './facts-run.ts';
import { FOLDERS } from './files.ts';
import type { Given } from './flags.ts';
import type { FactsArguments } from './edit-options.ts';
import { answer, readChecks, showAnswers, type Answer, type Check } from './predict.ts';
import type { Terminal } from './terminal.ts';

const LISTED = 10;

type EditFactsArguments = FactsArguments & Given<typeof OWN_FLAGS>;

/** A fact before the first was written, or after the last. */
const STATE = { target_logprob: NUMBER, took: v.boolean(), true_logprob: v.nullable(v.number()) };
type State = Entries<typeof STATE>;

/** What of a run's head is relied on. */
const HEAD = v.looseObject({ ...FACTS_HEAD, before: v.array(v.looseObject(STATE)) });

interface Head extends FactsHead {
  readonly before: readonly State[];
}

export async function editFacts(args: EditFactsArguments & { facts: string }, run: Run): Promise<Report> {
  const { facts: name, out } = args;
  const text = await readText(name, (what) => new UsageError(`--facts ${name}: ${what}.`));
  const checks = args.check === undefined ? [] : await readChecks(args.check);
  const folder = out === undefined ? undefined : `${out}.run`;
  if (folder !== undefined) await run.files.fills('--out', folder, FOLDERS.run);
  const source = {
    ...{ facts: readFacts(text, name), name, folder, format: { head: HEAD, line: BATCH_LINE } },
    asked: ({ before }: Head) => before,
  };
  try {
    return await withFactsRun<Head>(args, source, run, async (open) => {
      const report = await write(open, args, checks);
      // The journal of a run that is whole is of no more use: its file holds everything.
      if (folder !== undefined) for (const file of Object.keys(FOLDERS.run)) await rm(join(folder, file));
      return report;
    });
  } finally {
    if (folder !== undefined) await rmdir(folder).catch(() => undefined); // what is still needed keeps it
  }
}

async function write(open: FactsRun<Head>, args: EditFactsArguments, checks: readonly Check[]) {
  const { model, timed, terminal, facts, journal } = open;
  const { out, dump } = args;
  const asked = async (): Promise<State[]> =>
    (await timed('judge', () => scoreRewrites(model, facts))).map(stateOf);
  const own = { dump: dump !== undefined };
  const answers = (): Promise<Answer[]> => answer(model, checks, LISTED);
  const { head, lines, said } = await underBar(open, args, own, async (options, begun) => {
    const said = await answers();
    const first = journal.head ?? { schema: 1, ...begun, before: await asked() };
    if (!journal.head) await journal.begin(first);
    const all = { ...options, keepAll: dump !== undefined };
    const lines = await timed('write', () => writeBatches(model, facts, all, journal));
    return { head: first, lines, said };
  });
  const kept = lines.filter((line) => line.kept).map(({ case_ids }) => case_ids.length);
  const after = await asked();
  const says = await answers();
  const outcomes = facts.map((fact, i): Outcome => {
    const [was, is] = [head.before[i] as State, after[i] as State];
    return { fact, before: was, after: is, success: successOf(was, is) };
  });
  const error =
    kept.length === 0
      ? new EditRefused(
          `edit: each of ${lines.length} batches would disable the model. Nothing was written. Try another method, or fewer facts.`,
          'disabling',
        )
      : undefined;
  if (!error && (out !== undefined || dump !== undefined))
    await timed('write', () => writeFactsRun(writtenFacts(open, lines), args, open.signal));
  showLayers(terminal, lines);
  showOutcomes(terminal, outcomes, METHOD_TABLE[open.writing.method].title);
  if (checks.length > 0) {
    terminal.heading('Checks');
    showAnswers(terminal, checks, [
      { title: 'before', answers: said },
      { title: 'after', answers: says },
    ]);
    terminal.print();
  }
  if (!error) tellFiles(terminal, args, kept);
  const result = {
    method: open.writing.method,
    layers: open.layers,
    anchor: head.anchor,
    n: facts.length,
    batches: lines.map(({ case_ids }) => case_ids.length),
    took: outcomes.filter(({ success }) => success === 'took').length,
    refused: lines.flatMap((line) => (line.kept ? [] : line.case_ids)),
    covariances: open.covariances,
    lines: lines.map(({ vectors: _vectors, ...line }) => line),
    facts: outcomes.map(({ fact, before, after: now, success }) => ({
      case_id: fact.caseId,
      prompt: fact.prompt,
      subject: fact.subject,
      target: fact.targetNew,
      success,
      before: before.target_logprob,
      after: now.target_logprob,
    })),
    checks:
      checks.length === 0 ? undefined : checks.map((one, i) => ({ ...one, before: said[i], after: says[i] })),
    out,
    dump,
  };
  return open.report(result, error);
}

/** What was written, and what can be taken out again. @param batches facts of each that was kept */
function tellFiles(terminal: Terminal, { out, dump }: EditFactsArguments, batches: readonly number[]): void {
  const facts = batches.reduce((sum, n) => sum + n, 0);
  const revert = `palimpsest revert 1.${batches.length}`;
  const whole =
    facts === 1
      ? ''
      : batches.length === facts
        ? `; each fact can be taken out by itself, as ${revert} does once it is applied`
        : batches.length === 1
          ? '; its facts were solved together, so they come out together: palimpsest revert 1 once it is applied'
          : `; the facts of a batch were solved together, so a batch comes out whole, as ${revert} does once it is applied`;
  if (out !== undefined) terminal.say(`Wrote ${plural(facts, 'fact')} to ${out}${whole}.`);
  else terminal.say('The model itself is unchanged; --out FILE keeps these edits as a file.', '', 'dim');
  if (dump !== undefined) terminal.say(`Wrote every matrix to ${dump}`);
}

function stateOf(rivals: Rivals): State {
  const { hits, predicted } = rivals.new;
  return { ...logprobs(rivals), took: hits === predicted.length };
}

interface Outcome {
  readonly fact: Fact;
  readonly before: State;
  readonly after: State;
  readonly success: Success;
}

function successOf(before: State, after: State): Success {
  const of = ({ target_logprob, took, true_logprob }: State): Parameters<typeof judgeSuccess>[0] => ({
    target: { continuationLogprob: target_logprob, continuationFirst: took },
    trueLogprob: true_logprob ?? undefined,
  });
  return judgeSuccess(of(before), of(after), 1);
}

function showLayers(terminal: Terminal, lines: readonly BatchLine[]): void {
  const all = lines.flatMap((line) => line.layers.map((layer) => ({ ...layer, line })));
  terminal.heading('The updates W += U Lambda');
  terminal.table(someRows(all), [
    right('batch', ({ line }) => line.batch),
    right('facts', ({ line }) => line.case_ids.length),
    right('layer', ({ layer }) => layer),
    right('rank', ({ rank }) => rank),
    right('|update|', ({ update_norm }) => short(update_norm)),
    right('relative', ({ relative_update }) => short(relative_update)),
    right('left undone', ({ line, undone }) =>
      !line.kept ? 'left out' : undone === null ? '' : `${(100 * undone).toFixed(1)} %`,
    ),
  ]);
}

function showOutcomes(terminal: Terminal, outcomes: readonly Outcome[], title: string): void {
  const count = (wanted: Success): number => outcomes.filter(({ success }) => success === wanted).length;
  terminal.print();
  terminal.say(
    `${title}: of ${plural(outcomes.length, 'fact')} ${count('took')} took, ${count('partly')} partly, ${count('missed')} missed.`,
  );
  const fallen = outcomes.filter(({ success }) => success !== 'took');
  if (fallen.length > 0)
    terminal.table(fallen.slice(0, LISTED), [
      left('fact', ({ fact }) => factLine(fact, fact.targetNew)),
      right('p before', ({ before }) => percent(before.target_logprob)),
      right('p after', ({ after }) => percent(after.target_logprob)),
      left('', ({ success }) => success),
    ]);
}
