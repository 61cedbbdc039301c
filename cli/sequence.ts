/** `palimpsest sequence`: one edit after another on the same weights, into a folder, resumable after kill -9. */
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import type { Fact } from '../src/data/fact.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openJournal } from '../src/io/journal.ts';
import { heldOut } from '../src/lab/health.ts';
import { makeReport } from '../src/lab/report/page.ts';
import { runSequence } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine, SequenceOptions } from '../src/lab/sequence.ts';
import { command } from './command.ts';
import type { Report, Run } from './command.ts';
import { readData } from './files.ts';
import { DOWNSTREAM_FLAGS, PER_CLASS, downstreamFrom, examplesFrom } from './downstream-options.ts';
import type { DownstreamArguments } from './downstream-options.ts';
import { EDIT_FLAGS, MODEL_FLAGS, number, text } from './flags.ts';
import { DATA, LAB_FLAGS, factsFrom, withLab } from './lab.ts';
import type { Lab, LabArguments } from './lab.ts';
import { showEnd } from './sequence-view.ts';
import { reportTimings } from './session.ts';
import { sameSettings } from './settings.ts';

const COUNT = { integer: true, min: 0 } as const;
/** Documents of the corpus whose perplexity is followed. */
const HELD_OUT = 12;
const EVERY = 10;
const EDITS = 100;

interface SequenceCommand extends LabArguments, DownstreamArguments {
  readonly out?: string | undefined;
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
        out: text('--out', 'folder of the run: run.jsonl, report.html [default: sequence]'),
        resume: { type: 'boolean', default: false, describe: 'go on with the run in that folder' },
        every: number('--every', `edits between two measurements; 0 for none [default: ${EVERY}]`, COUNT),
        'held-out': text(
          '--held-out',
          'text, a document a line, whose first 12 are followed [default: WikiText]',
        ),
      })
      .options(DOWNSTREAM_FLAGS)
      .options(EDIT_FLAGS)
      .options(MODEL_FLAGS)
      .example(
        '$0 sequence --method rome --count 40',
        'forty edits; the guard marks those that disable the model',
      )
      .example('$0 sequence --method rome --count 40 --resume', 'goes on with a run that was stopped'),
  run: async (args: SequenceCommand, run) => runCommand(args, run),
});

async function runCommand(args: SequenceCommand, run: Run): Promise<Report> {
  const method = methodOf(args);
  const { facts, name } = await factsFrom({ ...args, count: args.count ?? EDITS });
  const corpus = await readData('--held-out', args.heldOut, 'wikitext.txt');
  const examples = await examplesFrom(args);
  const folder = resolve(args.out ?? 'sequence');
  return withLab(args, run, async (lab) => {
    const { session, edit, thresholds, seed } = lab;
    const { model, timed, timings, about } = session;
    const every = args.every ?? EVERY;
    const documents = heldOut(
      model,
      corpus.text
        .split('\n')
        .filter((line) => line.trim() !== '')
        .slice(0, HELD_OUT),
    );
    const downstream = downstreamFrom(args, examples, seed, run.signal);
    const onCollapse = args.onCollapse ?? 'warn';
    const textTokens = args.textTokens ?? 50;
    const settings = {
      adapter: about.adapter.description,
      model: about.model,
      edits: session.edits.map(({ id }) => id),
      method,
      layer: edit.layer,
      covariance: edit.solver.key,
      contexts: edit.contexts,
      options: {
        steps: args.steps,
        learning_rate: args.learningRate,
        clamp: edit.clamp,
        kl_factor: args.klFactor,
        weight_decay: args.weightDecay,
        freeze: args.freeze,
      },
      thresholds,
      on_collapse: onCollapse,
      seed,
      every,
      text_tokens: textTokens,
      held_out: hash(documents),
      // A longer run of the same facts may follow, so only their beginning is fixed.
      data: name,
      from: args.from ?? 0,
      downstream: downstream
        ? {
            every: downstream.every,
            tasks: [...examples.keys()],
            per_class: args.perClass ?? PER_CLASS,
            rte_labels: args.rteLabels ?? 'glue',
            examples: hash([...examples]),
          }
        : null,
    };
    const journal = await openJournal<SequenceHead, SequenceLine>(folder, args.resume);
    const lines: SequenceLine[] = [...journal.lines];
    const bar = run.terminal.progress('sequence');
    try {
      if (journal.head) sameSettings(journal.head.settings, settings, folder);
      sameFacts(lines, facts, folder);
      const options: SequenceOptions = {
        method,
        edit,
        thresholds,
        onCollapse,
        every,
        documents,
        textTokens,
        seed,
        ...(downstream ? { downstream } : {}),
        onLine: (line, total) => {
          lines.push(line);
          told(line, onCollapse, run);
          bar.update(line.edit, total);
        },
        signal: run.signal,
      };
      await timed('sequence', () => runSequence(model, facts, options, journal, settings));
    } finally {
      bar.stop();
      await journal.close();
    }
    await timed('report', () => writeReport(folder, method, journal.head as SequenceHead, lines, lab));
    showEnd(run.terminal, journal.head as SequenceHead, lines);
    run.terminal.say(`Wrote ${folder}: run.jsonl has a line an edit, report.html the figures.`);
    reportTimings(session, run);
    return { ...about, result: resultOf(lines, folder), timings_ms: timings };
  });
}

function resultOf(lines: readonly SequenceLine[], folder: string): unknown {
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

/** @throws UsageError when the lines of a run are of other facts */
function sameFacts(lines: readonly SequenceLine[], facts: readonly Fact[], folder: string): void {
  lines.forEach(({ edit, subject, target_new }, i) => {
    const fact = facts[i];
    if (fact && fact.subject === subject && fact.targetNew === target_new) return;
    const found = fact ? `"${fact.subject}" → "${fact.targetNew}"` : `only ${facts.length} records`;
    throw new UsageError(
      `${folder}: edit ${edit} of this run is "${subject}" → "${target_new}", but the data holds ${found}. Give the run's own data, or another --out.`,
      'other_run',
    );
  });
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
