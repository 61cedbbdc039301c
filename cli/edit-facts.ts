/** `palimpsest edit --facts`: many facts into the model, batch after batch, resumable after kill -9. */
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { settleFacts } from '../src/data/conflicts.ts';
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import type { FactsBatch } from '../src/edit/facts-record.ts';
import { judgeSuccess } from '../src/edit/guard.ts';
import type { Success } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { editRows } from '../src/edit/rows.ts';
import { sentence } from '../src/edit/template.ts';
import { UsageError } from '../src/errors.ts';
import { bytesOf } from '../src/floats.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { writeFactsEdit } from '../src/io/edit-files.ts';
import { sha256File } from '../src/io/file.ts';
import { openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
import { requestOf } from '../src/lab/evaluate.ts';
import { BATCH_LINE, cutFacts, vectorOf, writeBatches } from '../src/lab/fact-batches.ts';
import type { BatchLine, RunJournal } from '../src/lab/fact-batches.ts';
import type { Rivals } from '../src/lab/metrics.ts';
import { scoreRewrites } from '../src/lab/probes.ts';
import { memoryJournal } from '../src/lab/sequence.ts';
import { duration, percent, plural, short } from '../src/numerals.ts';
import type { Report, Run } from './commands.ts';
import { readText } from '../src/io/file.ts';
import { FOLDERS } from './files.ts';
import { hashOf, runMode } from './lab.ts';
import { anchoredWriting, withFactsEditing } from './mass-options.ts';
import type { FactsArguments, FactsEditing } from './mass-options.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import * as v from 'valibot';

const RIGHT = { align: 'right' } as const;
/** Facts that did not take that are listed. */
const LISTED = 10;
const MOST_ROWS = 12;

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
  const settings = {
    ...editing.settings,
    anchor: args.anchorNorm ?? null,
    facts: hashOf(facts),
    batch: editing.writing.kind === 'mass' ? size : 1,
    dump: args.dump !== undefined,
  };
  journal.check(settings);
  const { writing, anchor } = await anchoredWriting(editing, args, facts, journal.head?.anchor, run);
  const bar = factsProgress(terminal, facts.length, batchesBefore(journal.lines));
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
          writing,
          size,
          keepAll: args.dump !== undefined,
          onValues: bar.update,
          onPhase: (phase) => terminal.phase(phase),
          signal: run.signal,
        },
        journal,
      ),
    );
    bar.stop();
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
    if (args.out !== undefined || args.dump !== undefined)
      await timed('write', () => writeRun(editing, args, facts, { journal, lines }, run));
    showLayers(terminal, lines);
    showOutcomes(terminal, outcomes, writing.method);
    if (args.out !== undefined)
      tellOut(
        terminal,
        args.out,
        cutFacts(facts, { writing, size }).map(({ length }) => length),
      );
    else terminal.say('The model itself is unchanged; --out FILE keeps these edits as a file.', '', 'dim');
    if (args.dump !== undefined) terminal.say(`Wrote every matrix to ${args.dump}`);
    reportTimings(session, run);
    const took = outcomes.filter(({ success }) => success === 'took').length;
    const result = {
      method: writing.method,
      layers: editing.layers,
      anchor,
      n: facts.length,
      batches: cutFacts(facts, { writing, size }).map(({ length }) => length),
      took,
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
    return { ...session.about, result, timings_ms: timings };
  } finally {
    bar.stop();
  }
}

/** Of each batch its facts and updates, read from the journal one by one. */
async function* batchesOf(
  { session }: FactsEditing,
  facts: readonly Fact[],
  { journal, lines }: Written,
): AsyncGenerator<FactsBatch & { readonly of: (name: string) => Float32Array<ArrayBuffer> }> {
  const { model } = session;
  let [b, first] = [0, 0];
  for await (const block of journal.vectors()) {
    const line = lines[b] as BatchLine;
    const of = (name: string): Float32Array<ArrayBuffer> => {
      const found = vectorOf(line, block, name);
      if (!found) throw new RangeError(`edit: batch ${line.batch} has no ${name}.`);
      return found;
    };
    const requests = facts.slice(first, (first += line.case_ids.length)).map((fact) => {
      const { prompt, subject, target } = requestOf(fact);
      const { targetIds } = editRows(
        model.tokenizer,
        { prompt, subject, target },
        ['{}'],
        model.dims.context,
      );
      return { prompt, subject, target, targetIds };
    });
    const updates = line.layers.map(({ layer, rank }) => ({
      layer,
      rank,
      U: of(`u.${layer}`),
      Lambda: of(`lambda.${layer}`),
    }));
    yield { requests, updates, of };
    b += 1;
  }
}

/** Batches that were written, in a journal. */
interface Written {
  readonly journal: Pick<RunJournal<unknown, BatchLine>, 'vectors'>;
  readonly lines: readonly BatchLine[];
}

/** A file a batch. @param pathOf batch `b`, from 0 */
export async function writeFactsFiles(
  editing: FactsEditing,
  facts: readonly Fact[],
  written: Written,
  pathOf: (b: number) => string,
): Promise<void> {
  const { session, covariances, settings, contextsSeed: seed, writing } = editing;
  const earlier = session.edits.map(({ id }) => id);
  let b = 0;
  for await (const { requests, updates } of batchesOf(editing, facts, written)) {
    const path = pathOf(b++);
    const circumstances = { method: writing.method, covariances, settings, seed, earlier };
    await writeFactsEdit(path, session.model, [{ requests, updates }], circumstances);
    earlier.push(await sha256File(path));
  }
}

/** The edit file, and the dump. */
async function writeRun(
  editing: FactsEditing,
  { out, dump }: EditFactsArguments,
  facts: readonly Fact[],
  written: Written,
  { signal }: Run,
): Promise<void> {
  const { session, covariances, settings, contextsSeed: seed, writing, layers } = editing;
  const batches: FactsBatch[] = [];
  const tensors: TensorToWrite[] = [];
  for await (const { requests, updates, of } of batchesOf(editing, facts, written)) {
    const b = batches.push({ requests, updates }) - 1;
    if (dump === undefined) continue;
    const n = requests.length;
    const matrix = (name: string, rows: number, values: Float32Array<ArrayBuffer>): void => {
      tensors.push({ name, dtype: 'F32', shape: [rows, values.length / rows], data: bytesOf(values) });
    };
    matrix(`${b}.z`, n, of('z'));
    for (const { layer, rank, U, Lambda } of updates) {
      matrix(`${b}.${layer}.K`, n, of(`K.${layer}`));
      matrix(`${b}.${layer}.R`, n, of(`R.${layer}`));
      matrix(`${b}.${layer}.U`, U.length / rank, product(U, Lambda, rank));
    }
  }
  const earlier = session.edits.map(({ id }) => id);
  if (out !== undefined)
    await writeFactsEdit(out, session.model, batches, {
      method: writing.method,
      covariances,
      settings,
      seed,
      earlier,
    });
  if (dump !== undefined) {
    const metadata = {
      schema: 'palimpsest.dump/1',
      method: writing.method,
      layers: JSON.stringify(layers),
    };
    await writeSafetensors(dump, tensors, { metadata, signal });
  }
}

/** U = u λ, [F, D] */
function product(
  u: Float32Array<ArrayBuffer>,
  lambda: Float32Array<ArrayBuffer>,
  rank: number,
): Float32Array<ArrayBuffer> {
  const [F, D] = [u.length / rank, lambda.length / rank];
  const all = new Float32Array(F * D);
  const row = new Float64Array(D);
  for (let f = 0; f < F; f += 1) {
    row.fill(0);
    for (let r = 0; r < rank; r += 1) {
      const scale = u[f * rank + r] as number;
      for (let d = 0; d < D; d += 1) row[d] = (row[d] as number) + scale * (lambda[r * D + d] as number);
    }
    all.set(row, f * D);
  }
  return all;
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
  const memory = memoryJournal<Head, BatchLine>();
  return Object.assign(memory, { close: () => Promise.resolve(), check: () => undefined });
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

function batchesBefore(lines: readonly BatchLine[]): number {
  return lines.reduce((sum, { case_ids }) => sum + case_ids.length, 0);
}

function showLayers(terminal: Terminal, lines: readonly BatchLine[]): void {
  const all = lines.flatMap((line) => line.layers.map((layer) => ({ ...layer, line })));
  const step = Math.ceil(all.length / MOST_ROWS);
  const shown = all.filter((_, i) => (all.length - 1 - i) % step === 0);
  terminal.heading('The updates W += U Lambda');
  terminal.table(
    [
      { title: 'batch', ...RIGHT },
      { title: 'facts', ...RIGHT },
      { title: 'layer', ...RIGHT },
      { title: 'rank', ...RIGHT },
      { title: '|Δ|', ...RIGHT },
      { title: '|Δ|/|W|', ...RIGHT },
      { title: 'left undone', ...RIGHT },
    ],
    shown.map(({ line, layer, rank, update_norm, relative_update, undone }) => [
      String(line.batch),
      String(line.case_ids.length),
      String(layer),
      String(rank),
      short(update_norm),
      short(relative_update),
      undone === null ? '' : `${(100 * undone).toFixed(1)} %`,
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
      [{ title: 'fact' }, { title: 'p before', ...RIGHT }, { title: 'p after', ...RIGHT }, { title: '' }],
      fallen
        .slice(0, LISTED)
        .map(({ fact, before, after, success }) => [
          `${sentence({ prompt: fact.prompt, subject: `[${fact.subject}]` })} → ${fact.targetNew}`,
          percent(before.target_logprob),
          percent(after.target_logprob),
          success,
        ]),
    );
}
