/** `palimpsest sequence`: one edit after another on the same weights, into a folder, resumable after kill -9. */
import { readdir, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Fact } from '../src/data/fact.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import { sentence } from '../src/edit/template.ts';
import { UsageError } from '../src/errors.ts';
import { writeEdit } from '../src/io/edit-files.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { sha256File } from '../src/io/file.ts';
import { openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
import { heldOut } from '../src/lab/health.ts';
import { makeReport } from '../src/lab/report/page.ts';
import { SEQUENCE_HEAD, SEQUENCE_LINE, runSequence } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine, SequenceOptions, Survivor } from '../src/lab/sequence.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import { command } from './commands.ts';
import type { Report, Run } from './commands.ts';
import { readData } from '../src/io/file.ts';
import { FOLDERS } from './files.ts';
import {
  DATA,
  DOWNSTREAM_FLAGS,
  HELD_OUT_FLAG,
  LAB_FLAGS,
  PER_CLASS,
  downstreamFrom,
  examplesFrom,
  factsFrom,
  hashOf,
  runMode,
  settingsOf,
  withLab,
} from './lab.ts';
import type { DownstreamArguments, Lab, LabArguments } from './lab.ts';
import { STUDY_FLAGS, asksForBatches, studyFacts } from './facts-study.ts';
import { EDIT_FLAGS, FACTS_FLAGS, MODEL_FLAGS, folderOr, number } from './flags.ts';
import { singleFlags } from './edit-options.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import { percent as probability, plural, short } from '../src/numerals.ts';

const RIGHT = { align: 'right' } as const;
const WORST = 5;
/** Fallen edits that are listed. */
const FALLEN = 10;
const MOST_ROWS = 12;
const COUNT = { integer: true, min: 0 } as const;
/** Documents of the corpus whose perplexity is followed. */
const HELD_OUT = 12;
const EVERY = 10;
const EDITS = 100;

interface SequenceCommand extends LabArguments, DownstreamArguments {
  readonly out: string;
  readonly resume: boolean;
  readonly every?: number | undefined;
  readonly heldOut?: string | undefined;
}

export const sequence = command({
  flags: (yargs) =>
    yargs
      .positional('data', DATA)
      .options(LAB_FLAGS)
      .options({
        out: folderOr(
          'sequence',
          '--out',
          'folder of the run: run.jsonl, end.json, report.html, edits/',
          FOLDERS.sequence,
        ),
        resume: { type: 'boolean', default: false, describe: 'go on with the run in that folder' },
        every: number(
          '--every',
          `edits between two measurements, the end is always one [default: ${EVERY}]`,
          COUNT,
        ),
        'held-out': HELD_OUT_FLAG,
      })
      .options({ ...STUDY_FLAGS, ...DOWNSTREAM_FLAGS })
      .options({ ...EDIT_FLAGS, ...FACTS_FLAGS })
      .options(MODEL_FLAGS)
      .example(
        '$0 sequence --method rome --count 40',
        'forty edits; the guard marks those that disable the model',
      )
      .example('$0 sequence --method rome --count 40 --resume', 'goes on with a run that was stopped'),
  run: async (args, run) => {
    if (!asksForBatches(args)) return runCommand({ ...args, ...singleFlags(args) }, run);
    await checkEdits(resolve(args.out), args, run);
    return studyFacts({ ...args, count: args.count ?? EDITS }, run, true);
  },
});

async function runCommand(args: SequenceCommand, run: Run): Promise<Report> {
  const method = methodOf(args);
  const { facts, name } = await factsFrom({ ...args, count: args.count ?? EDITS });
  const corpus = await readData('--held-out', args.heldOut, 'wikitext.txt');
  const examples = await examplesFrom(args);
  const folder = resolve(args.out);
  await checkEdits(folder, args, run);
  const schemas = { head: SEQUENCE_HEAD, line: SEQUENCE_LINE };
  const journal = await openRun<SequenceHead, SequenceLine>(folder, { mode: runMode(args, run), ...schemas });
  const input = { method, facts, name, corpus: corpus.text, examples, journal };
  return withLab(args, run, (lab) => sequenceIn(lab, folder, input, args, run)).finally(journal.close);
}

/**
 * Edits of another run in the folder would count as those of this one.
 *
 * @throws UsageError when there are some that may not be removed
 */
async function checkEdits(
  folder: string,
  { resume }: Pick<SequenceCommand, 'resume'>,
  { files }: Run,
): Promise<void> {
  if (resume) return;
  const edits = resolve(folder, 'edits');
  const names = await readdir(edits).catch((): string[] => []);
  if (names.length === 0) return;
  if (!files.overwrite)
    throw new UsageError(
      `${edits}: expected no edits of another run, found ${names.length} files. Choose another folder with --out, or begin anew with --overwrite.`,
      'run_exists',
    );
  for (const name of names.filter((one) => /^\d+\.safetensors$/.test(one))) await rm(resolve(edits, name));
}

interface SequenceInput {
  readonly method: Method;
  readonly facts: readonly Fact[];
  /** Of the data. */
  readonly name: string;
  readonly corpus: string;
  readonly examples: Awaited<ReturnType<typeof examplesFrom>>;
  readonly journal: OpenRun<SequenceHead, SequenceLine>;
}

async function sequenceIn(
  lab: Lab,
  folder: string,
  { method, facts, name, corpus, examples, journal }: SequenceInput,
  args: SequenceCommand,
  run: Run,
): Promise<Report> {
  const { session, edit, thresholds, seed, contextsSeed } = lab;
  const { model, timed, timings, about } = session;
  const every = args.every ?? EVERY;
  const documents = heldOut(
    model,
    corpus
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(0, HELD_OUT),
  );
  const downstream = downstreamFrom(args, examples, seed, run.signal);
  const onCollapse = args.onCollapse ?? 'warn';
  const textTokens = args.textTokens ?? 50;
  const settings = {
    ...settingsOf(lab, args, name),
    method,
    on_collapse: onCollapse,
    every,
    text_tokens: textTokens,
    held_out: hashOf(documents),
    downstream: downstream
      ? {
          every: downstream.every,
          tasks: [...examples.keys()],
          per_class: args.perClass ?? PER_CLASS,
          rte_labels: args.rteLabels ?? 'glue',
          examples: hashOf([...examples]),
        }
      : null,
  };
  journal.check(settings, facts);
  const lines: SequenceLine[] = [...journal.lines];
  const earlier = [...session.edits.map(({ id }) => id), ...(await keptIds(folder, lines))];
  const bar = run.terminal.progress('sequence');
  let survivors: Survivor[];
  try {
    const options = {
      method,
      edit,
      thresholds,
      onCollapse,
      every,
      documents,
      textTokens,
      seed,
      downstream,
      onKept: async ({ number: place, ...made }) => {
        const path = editPath(folder, place);
        const circumstances = { covariance: edit.solver.key, seed: contextsSeed, earlier };
        await writeEdit(path, { model, ...made, ...circumstances });
        earlier.push(await sha256File(path));
      },
      onLine: (line, total) => {
        lines.push(line);
        told(line, onCollapse, run);
        bar.update(line.edit, total);
      },
      signal: run.signal,
    } satisfies SequenceOptions;
    survivors = await timed('sequence', () => runSequence(model, facts, options, journal, settings));
  } finally {
    bar.stop();
  }
  await timed('report', () => writeReport(folder, method, journal.head as SequenceHead, lines, lab));
  const survival = survivalOf(survivors);
  await writeAtomic(resolve(folder, 'end.json'), `${JSON.stringify(survival, null, 1)}\n`);
  showEnd(run.terminal, journal.head as SequenceHead, lines);
  showSurvival(run.terminal, survivors);
  for (const reason of missingMeasures(facts)) run.terminal.say(reason, '', 'dim');
  run.terminal.say(
    `Wrote ${folder}: run.jsonl has a line an edit, end.json what holds, report.html the figures. ` +
      `The edits that were kept are in edits: palimpsest predict TEXT --edits ${args.out}`,
  );
  reportTimings(session, run);
  return { ...about, result: { ...resultOf(lines, folder), survival }, timings_ms: timings };
}

function resultOf(lines: readonly SequenceLine[], folder: string): object {
  const edits = (verdict: string): number[] =>
    lines.filter((line) => line.verdict === verdict).map(({ edit }) => edit);
  const refused = lines.filter(({ kept }) => !kept).map(({ edit }) => edit);
  return {
    ...lines.at(-1),
    n: lines.length,
    disabling: edits('disabling'),
    suspect: edits('suspect'),
    refused,
    folder,
  };
}

/** Where an edit that was kept lies, in the form that `edit --out` writes. */
function editPath(folder: string, number: number): string {
  return resolve(folder, 'edits', `${String(number).padStart(4, '0')}.safetensors`);
}

/** Ids of the edits that a run kept so far; a run from before they were written has none. */
async function keptIds(folder: string, lines: readonly SequenceLine[]): Promise<string[]> {
  const ids: string[] = [];
  for (const { edit, kept } of lines) {
    const id = kept ? await sha256File(editPath(folder, edit)).catch(() => undefined) : undefined;
    if (id !== undefined) ids.push(id);
  }
  return ids;
}

/** Whether the edits that were kept still hold after the last one: `end.json`. */
function survivalOf(edits: readonly Survivor[]): object {
  return { kept: edits.length, holding: edits.filter(({ holds }) => holds).length, edits };
}

function methodOf(args: LabArguments): Method {
  if (args.method === 'all')
    throw new UsageError(
      '--method: a sequence runs one method, but all were asked for. Run it once for each, with its own --out.',
    );
  return args.method ?? 'r-rome';
}

/** Every dangerous edit is told of when it comes. */
function told(
  { edit, method, subject, verdict, cosine, relative_update, kept }: SequenceLine,
  onCollapse: string,
  { terminal }: Run,
): void {
  if (verdict !== 'disabling') return;
  const refusal = kept
    ? onCollapse === 'warn'
      ? 'It is kept; --on-collapse refuse leaves it out.'
      : ''
    : 'It was left out.';
  terminal.warn(
    `edit ${edit}, ${METHOD_TABLE[method].title} on "${subject}", disables the model: cosine ${cosine.toPrecision(3)} between key and u, ` +
      `update ${relative_update.toPrecision(3)} times as large as W. ${refusal}`,
  );
}

async function writeReport(
  folder: string,
  method: Method,
  head: SequenceHead,
  lines: readonly SequenceLine[],
  { session, edit }: Lab,
): Promise<void> {
  const { adapter, model } = session.about;
  const files = await makeReport({
    title: `${METHOD_TABLE[method].title}: ${lines.length} edits on ${model.id}`,
    about: [
      ['model', `${model.id}; sha256 ${model.sha256.slice(0, 16)}`],
      ['edit layer', String(edit.layer)],
      ['adapter', adapter.description],
    ],
    command: `palimpsest sequence --method ${method} --count ${lines.length}`,
    sequences: [{ method, head, lines }],
  });
  for (const [name, content] of files) await writeAtomic(resolve(folder, name), content);
}

/** The measurements of a run, and its largest edits. */
function showEnd(terminal: Terminal, head: SequenceHead, lines: readonly SequenceLine[]): void {
  const measured = lines.filter(({ metrics }) => metrics !== undefined);
  // Of many measurements a few, the last among them.
  const step = Math.ceil(measured.length / MOST_ROWS);
  const shown = measured.filter((_, i) => (measured.length - 1 - i) % step === 0);
  const { before } = head;
  // Without true objects nothing can be compared: then by arg-max.
  const took = measured.some(({ metrics }) => metrics?.recent.values.ES !== undefined) ? 'ES' : 'EM';
  if (before.perplexity !== undefined) {
    terminal.heading('The model while it is edited');
    terminal.table(
      [
        { title: 'edits' },
        ...['|W - W0|/|W0|', 'perplexity', 'entropy', `${took} recent`, `${took} earlier`, 'NS recent'].map(
          (title) => ({ title, ...RIGHT }),
        ),
      ],
      [
        ['0', '0', ...language(before), '', '', ''],
        ...shown.map((line) => [
          String(line.edit),
          short(line.relative_total),
          ...language(line),
          percent(line.metrics?.recent.values[took]),
          percent(line.metrics?.earlier.values[took]),
          percent(line.metrics?.recent.values.NS),
        ]),
      ],
    );
  }
  terminal.heading('The largest edits');
  const largest = lines.toSorted((a, b) => b.update_norm - a.update_norm).slice(0, WORST);
  terminal.table(
    [
      { title: 'edit' },
      { title: '|Δ|', ...RIGHT },
      { title: 'cosine', ...RIGHT },
      { title: 'verdict' },
      { title: 'kept' },
      { title: 'fact' },
    ],
    largest.map(({ edit, update_norm, cosine, verdict, kept, prompt, subject, target_new }) => [
      String(edit),
      short(update_norm),
      short(cosine),
      verdict,
      kept ? 'yes' : 'no',
      `${sentence({ prompt, subject: `[${subject}]` })} → ${target_new}`,
    ]),
  );
  terminal.print();
}

/** Which edits still hold after the last one. */
function showSurvival(terminal: Terminal, survivors: readonly Survivor[]): void {
  const fallen = survivors.filter(({ holds }) => !holds);
  const compared = survivors.filter(({ by }) => by === 'comparison').length;
  const how =
    compared === survivors.length
      ? 'the new object is likelier than the true one'
      : compared === 0
        ? 'the new object is the arg-max'
        : 'the new object is likelier than the true one, or the arg-max where no true one is named';
  terminal.heading(
    `After the last edit ${survivors.length - fallen.length} of ${plural(survivors.length, 'kept edit')} hold`,
  );
  terminal.say(`An edit holds where ${how}.`, '', 'dim');
  if (fallen.length > 0)
    terminal.table(
      [{ title: 'fallen' }, { title: 'p(new)', ...RIGHT }, { title: 'p(true)', ...RIGHT }, { title: 'fact' }],
      fallen
        .slice(0, FALLEN)
        .map(({ edit, target_logprob, true_logprob, subject, target_new }) => [
          String(edit),
          probability(target_logprob),
          true_logprob === null ? '' : probability(true_logprob),
          `${subject} → ${target_new}`,
        ]),
    );
  terminal.print();
}

function language({ perplexity, entropy }: Pick<SequenceLine, 'perplexity' | 'entropy'>): [string, string] {
  return [perplexity === undefined ? '' : short(perplexity), entropy === undefined ? '' : entropy.toFixed(3)];
}

function percent(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(1);
}
