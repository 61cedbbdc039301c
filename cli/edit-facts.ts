/** `palimpsest edit --facts`: many facts into the model, batch after batch, resumable after kill -9. */
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { settleFacts } from '../src/data/conflicts.ts';
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import { judgeSuccess } from '../src/edit/guard.ts';
import type { Success } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { EditRefused, UsageError } from '../src/errors.ts';
import { writeFactsRun } from '../src/io/facts-files.ts';
import type { WrittenFacts } from '../src/io/facts-files.ts';
import { readText } from '../src/io/file.ts';
import { hashOf, memoryRun, openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
import { cutFacts, writeBatches } from '../src/lab/fact-batches.ts';
import { BATCH_LINE } from '../src/lab/run-journal.ts';
import type { BatchLine } from '../src/lab/run-journal.ts';
import type { Rivals } from '../src/lab/metrics.ts';
import { scoreRewrites } from '../src/lab/probes.ts';
import { duration, percent, plural, short } from '../src/numerals.ts';
import { left, right, someRows } from '../src/table.ts';
import type { Report, Run } from './commands.ts';
import { FOLDERS } from './files.ts';
import { runMode, tellBatch } from './lab.ts';
import { anchoredWriting, withFactsEditing } from './mass-options.ts';
import type { FactsArguments, FactsEditing } from './mass-options.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import * as v from 'valibot';

/** Facts that did not take that are listed. */
const LISTED = 10;

export interface EditFactsArguments extends FactsArguments {
  readonly facts?: string | undefined;
  readonly out?: string | undefined;
  readonly dump?: string | undefined;
  readonly resume: boolean;
}

interface Head {
  readonly schema: 1;
  readonly settings: Readonly<Record<string, unknown>>;
  /** The length of norm anchoring, where it was measured. */
  readonly anchor?: number | undefined;
  /** Of each fact, before the first was written. */
  readonly before: readonly {
    readonly target_logprob: number;
    readonly took: boolean;
    readonly true_logprob: number | null;
  }[];
}

const NUMBER = v.nullable(v.number());

/** What of a run's head is relied on. */
const HEAD = v.looseObject({
  schema: v.literal(1),
  settings: v.record(v.string(), v.unknown()),
  anchor: v.optional(v.number()),
  before: v.array(v.looseObject({ target_logprob: NUMBER, took: v.boolean(), true_logprob: NUMBER })),
});

export async function editFacts(args: EditFactsArguments & { facts: string }, run: Run): Promise<Report> {
  const { terminal } = run;
  const text = await readText(args.facts, (what) => new UsageError(`--facts ${args.facts}: ${what}.`));
  const { facts, duplicates, overruled } = settleFacts(
    readFacts(text, args.facts),
    args.facts,
    args.conflicts ?? 'refuse',
  );
  if (duplicates > 0) terminal.note(`palimpsest: ${plural(duplicates, 'fact')} there twice: written once.`);
  if (overruled > 0)
    terminal.warn(`${plural(overruled, 'fact')} left out: a later one says the opposite (--conflicts last).`);
  const folder = args.out === undefined ? undefined : `${args.out}.run`;
  if (folder !== undefined) await run.files.fills('--out', folder, FOLDERS.run);
  const journal = await openFacts(folder, args, run);
  try {
    const report = await withFactsEditing(args, run, (editing) =>
      write(editing, args, { facts, journal }, run),
    );
    // The journal of a run that is whole is of no more use: its file holds everything.
    if (folder !== undefined) for (const name of Object.keys(FOLDERS.run)) await rm(join(folder, name));
    return report;
  } finally {
    await journal.close();
    if (folder !== undefined) await rmdir(folder).catch(() => undefined); // what is still needed keeps it
  }
}

async function write(
  editing: FactsEditing,
  args: EditFactsArguments,
  { facts, journal }: { readonly facts: readonly Fact[]; readonly journal: OpenRun<Head, BatchLine> },
  run: Run,
): Promise<Report> {
  const { session } = editing;
  const { model, timed, timings } = session;
  const { terminal } = run;
  const size = args.batch ?? facts.length;
  const onCollapse = args.onCollapse ?? 'warn';
  const there = journal.lines.length;
  const settings = {
    ...editing.settings,
    anchor: args.anchorNorm ?? null,
    facts: hashOf(facts),
    batch: editing.writing.kind === 'mass' ? size : 1,
    on_collapse: onCollapse,
    dump: args.dump !== undefined,
  };
  journal.check(settings);
  const { writing, anchor } = await anchoredWriting(
    editing,
    args,
    { facts, size, known: journal.head?.anchor },
    run,
  );
  const bar = factsProgress(terminal, facts.length, factsOf(journal.lines));
  let lines: BatchLine[];
  let head: Head;
  try {
    head = journal.head ?? {
      schema: 1,
      settings,
      anchor,
      before: (await asked(session, facts)).map(stateOf),
    };
    if (!journal.head) await journal.begin(head);
    lines = await timed('write', () =>
      writeBatches(
        model,
        facts,
        {
          ...{ writing, size, onCollapse },
          keepAll: args.dump !== undefined,
          onBatch: (line) => {
            if (line.batch > there) tellBatch(line, onCollapse, run);
          },
          onValues: bar.update,
          onPhase: (phase) => terminal.phase(phase),
          signal: run.signal,
        },
        journal,
      ),
    );
    bar.stop();
    const kept = lines.filter((line) => line.kept);
    const error =
      kept.length === 0
        ? new EditRefused(
            `edit: each of ${lines.length} batches would disable the model. Nothing was written. Try another method, or fewer facts.`,
            'disabling',
          )
        : undefined;
    const after = (await asked(session, facts)).map(stateOf);
    const outcomes = facts.map((fact, i): Outcome => {
      const [was, is] = [head.before[i], after[i]];
      return {
        fact,
        before: was as State,
        after: is as State,
        success: successOf(was as State, is as State),
      };
    });
    if (!error && (args.out !== undefined || args.dump !== undefined))
      await timed('write', () =>
        writeFactsRun(writtenFacts(editing, facts, journal, lines), args, run.signal),
      );
    showLayers(terminal, lines);
    showOutcomes(terminal, outcomes, writing.method);
    if (args.out !== undefined && !error)
      tellOut(
        terminal,
        args.out,
        kept.map(({ case_ids }) => case_ids.length),
      );
    else if (!error)
      terminal.say('The model itself is unchanged; --out FILE keeps these edits as a file.', '', 'dim');
    if (args.dump !== undefined && !error) terminal.say(`Wrote every matrix to ${args.dump}`);
    reportTimings(session, run);
    const took = outcomes.filter(({ success }) => success === 'took').length;
    const result = {
      method: writing.method,
      layers: editing.layers,
      anchor,
      n: facts.length,
      batches: cutFacts(facts, { writing, size }).map(({ length }) => length),
      took,
      refused: lines.flatMap((line) => (line.kept ? [] : line.case_ids)),
      covariances: editing.covariances,
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
      out: args.out,
      dump: args.dump,
    };
    return { ...session.about, result, timings_ms: timings, error };
  } finally {
    bar.stop();
  }
}

/** What the files of a run are written from. */
export function writtenFacts(
  { session, covariances, settings, contextsSeed: seed, writing }: FactsEditing,
  facts: readonly Fact[],
  journal: WrittenFacts['journal'],
  lines: readonly BatchLine[],
): WrittenFacts {
  const earlier = session.edits.map(({ id }) => id);
  const circumstances = { method: writing.method, covariances, settings, seed, earlier };
  return { model: session.model, facts, journal, lines, circumstances };
}

/** What can be taken out again, said where the file is named. */
function tellOut(terminal: Terminal, out: string, batches: readonly number[]): void {
  const whole = batches.every((n) => n === 1)
    ? 'each fact can be taken out by itself, as palimpsest revert 1.5 does once it is applied'
    : batches.length === 1
      ? 'its facts were solved together, so they come out together: palimpsest revert 1 once it is applied'
      : `the facts of a batch were solved together, so a batch comes out whole, as palimpsest revert 1.2 does once it is applied`;
  terminal.say(
    `Wrote ${plural(
      batches.reduce((sum, n) => sum + n, 0),
      'fact',
    )} to ${out}; ${whole}.`,
  );
}

/** A run on the disk; without --out nothing outlives the command. */
async function openFacts(
  folder: string | undefined,
  args: EditFactsArguments,
  run: Run,
): Promise<OpenRun<Head, BatchLine>> {
  if (folder !== undefined)
    return openRun<Head, BatchLine>(folder, { mode: runMode(args, run), head: HEAD, line: BATCH_LINE });
  if (args.resume)
    throw new UsageError('--resume: expected --out with the name that the run was begun with, found none.');
  return memoryRun<Head, BatchLine>();
}

type State = Head['before'][number];

function asked({ model, timed }: FactsEditing['session'], facts: readonly Fact[]): Promise<Rivals[]> {
  return timed('judge', () => scoreRewrites(model, facts));
}

function stateOf({ new: target, true: rival }: Rivals): State {
  return {
    target_logprob: -target.nll,
    took: target.hits === target.predicted.length,
    true_logprob: rival && -rival.nll,
  };
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

/** Facts, facts a minute and the time left. */
export function factsProgress(
  terminal: Terminal,
  total: number,
  first: number,
): { update: (done: number) => void; stop: () => void } {
  const start = performance.now();
  let now = first;
  const bar = terminal.progress('edit', String, () => {
    const rate = (60_000 * (now - first)) / (performance.now() - start);
    if (!(rate > 0) || now === total) return '';
    return ` (${Math.round(rate)} facts a minute, ${duration((60 * (total - now)) / rate)} left)`;
  });
  return { update: (done) => bar.update((now = done), total), stop: bar.stop };
}

/** Facts of the batches that a run has written. */
export function factsOf(lines: readonly BatchLine[]): number {
  return lines.reduce((sum, { case_ids }) => sum + case_ids.length, 0);
}

function showLayers(terminal: Terminal, lines: readonly BatchLine[]): void {
  const all = lines.flatMap((line) => line.layers.map((layer) => ({ ...layer, line })));
  terminal.heading('The updates W += U Lambda');
  terminal.table(
    right('batch', 'facts', 'layer', 'rank', '|Δ|', '|Δ|/|W|', 'left undone'),
    someRows(all).map(({ line, layer, rank, update_norm, relative_update, undone }) => [
      String(line.batch),
      String(line.case_ids.length),
      String(layer),
      String(rank),
      short(update_norm),
      short(relative_update),
      !line.kept ? 'left out' : undone === null ? '' : `${(100 * undone).toFixed(1)} %`,
    ]),
  );
}

function showOutcomes(
  terminal: Terminal,
  outcomes: readonly Outcome[],
  method: FactsEditing['writing']['method'],
): void {
  const count = (wanted: Success): number => outcomes.filter(({ success }) => success === wanted).length;
  terminal.print();
  terminal.say(
    `${METHOD_TABLE[method].title}: of ${plural(outcomes.length, 'fact')} ${count('took')} took, ${count('partly')} partly, ${count('missed')} missed.`,
  );
  const fallen = outcomes.filter(({ success }) => success !== 'took');
  if (fallen.length > 0)
    terminal.table(
      [...left('fact'), ...right('p before', 'p after'), ...left('')],
      fallen
        .slice(0, LISTED)
        .map(({ fact, before, after, success }) => [
          factLine(fact, fact.targetNew),
          percent(before.target_logprob),
          percent(after.target_logprob),
          success,
        ]),
    );
}
