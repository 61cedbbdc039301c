/** `palimpsest sequence`: one edit after another on the same weights, into a folder, resumable after kill -9. */
import { readdir, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Fact } from '../src/data/fact.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { editFileName, writeEdit } from '../src/io/edit-files.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { sha256File } from '../src/io/file.ts';
import { hashOf, openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
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
  followed,
  runMode,
  settingsOf,
  tellDanger,
  withLab,
} from './lab.ts';
import type { DownstreamArguments, Lab, LabArguments } from './lab.ts';
import {
  EVERY,
  STUDY_FLAGS,
  TEXT_TOKENS,
  asksForBatches,
  showSequence,
  studyFacts,
  survivalOf,
  writeSequenceReport,
} from './facts-study.ts';
import { EDIT_FLAGS, FACTS_FLAGS, FROM_0, MODEL_FLAGS, flag, folder, number, or } from './flags.ts';
import { singleFlags } from './edit-options.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import { percent as probability, plural } from '../src/numerals.ts';
import { left, right } from '../src/table.ts';

/** Fallen edits that are listed. */
const FALLEN = 10;
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
        out: or(
          'sequence',
          folder('folder of the run: run.jsonl, end.json, report.html, edits/', FOLDERS.sequence),
        ),
        resume: flag('go on with the run in that folder'),
        every: number(`edits between two measurements, the end is always one [default: ${EVERY}]`, FROM_0),
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
  const documents = followed(model, corpus);
  const downstream = downstreamFrom(args, examples, seed, run.signal);
  const onCollapse = args.onCollapse ?? 'warn';
  const textTokens = args.textTokens ?? TEXT_TOKENS;
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
        const { edit: number, subject } = line;
        tellDanger(`edit ${number}, ${METHOD_TABLE[method].title} on "${subject}"`, line, onCollapse, run);
        bar.update(line.edit, total);
      },
      signal: run.signal,
    } satisfies SequenceOptions;
    survivors = await timed('sequence', () => runSequence(model, facts, options, journal, settings));
  } finally {
    bar.stop();
  }
  const head = journal.head as SequenceHead;
  const command = `palimpsest sequence --method ${method} --count ${lines.length}`;
  await timed('report', () =>
    writeSequenceReport(folder, { method, head, lines }, command, { session, layers: [edit.layer] }),
  );
  const survival = survivalOf(survivors);
  await writeAtomic(resolve(folder, 'end.json'), `${JSON.stringify(survival, null, 1)}\n`);
  showSequence(run.terminal, { head, lines });
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
  return resolve(folder, 'edits', editFileName(number));
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

function methodOf(args: LabArguments): Method {
  if (args.method === 'all')
    throw new UsageError(
      '--method: a sequence runs one method, but all were asked for. Run it once for each, with its own --out.',
    );
  return args.method ?? 'r-rome';
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
      [...left('fallen'), ...right('p(new)', 'p(true)'), ...left('fact')],
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
