/**
 * What the commands of a researcher share: the facts of a data file, thresholds of the guard, what is
 * followed of the model while it is edited, and the settings of a run that is gone on with.
 */
import { join } from 'node:path';
import { readLabelled, type Labelled } from '../src/data/labelled.ts';
import { readFacts } from '../src/data/read.ts';
import { THRESHOLDS, type Thresholds } from '../src/edit/guard.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { readData } from '../src/io/file.ts';
import { hashOf } from '../src/io/run.ts';
import { TASKS, type TaskName } from '../src/lab/downstream-tasks.ts';
import { runTask } from '../src/lab/downstream.ts';
import { heldOut, type HealthOptions } from '../src/lab/health.ts';
import { makeReport } from '../src/lab/report/page.ts';
import type { Study } from '../src/lab/report/study.ts';
import type { SequenceLine } from '../src/lab/sequence.ts';
import type { Model } from '../src/models/model.ts';
import { said, type EditArguments, type Editing } from './edit-options.ts';
import { choice, input, number, text, whole, type Given } from './flags.ts';
import { adapterName, type ModelArguments, type Session } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Flags of both commands, beside those of an edit. */
export const LAB_FLAGS = {
  from: whole('the first record, from 0 [default: 0]', 0),
  count: whole('records [default: all]', 1),
  'suspect-cosine': number(`|k · u| / (|k| |u|) below it is suspect [default: ${THRESHOLDS.suspectCosine}]`),
  'disabling-cosine': number(`and below it disabling [default: ${THRESHOLDS.disablingCosine}]`),
  'suspect-update': number(`|u lambda^T| / |W| above it is suspect [default: ${THRESHOLDS.suspectUpdate}]`),
  'disabling-update': number(`and above it disabling [default: ${THRESHOLDS.disablingUpdate}]`),
  'text-tokens': whole(
    'tokens of a generated text, its prompt included; 0 for none [default: 100; of sequence and --batch 50]',
    0,
  ),
} as const;

export type LabArguments = EditArguments &
  ModelArguments &
  Given<typeof LAB_FLAGS & { readonly data: typeof DATA }>;

export const DATA = input(
  'CounterFact, zsRE, EasyEdit, FastEdit, CSV (prompt,subject,target,true) or plain lines [default: CounterFact]',
);

/** @throws UsageError for an unreadable file, or a range without records; before a model is loaded */
export async function factsFrom({ data, from = 0, count }: Pick<LabArguments, 'data' | 'from' | 'count'>) {
  const { text: content, name } = await readData('data', data, 'counterfact.json');
  const all = readFacts(content, name);
  const facts = all.slice(from, count === undefined ? undefined : from + count);
  if (facts.length === 0)
    throw new UsageError(`--from: expected a record of the ${all.length} of ${name}, found ${from}.`);
  return { facts, name };
}

/** What the guard says of an edit, or of a batch of them. */
interface Danger extends Pick<SequenceLine, 'verdict' | 'relative_update' | 'kept'> {
  readonly cosine?: number | undefined;
  readonly facts?: number | undefined;
}

/** Every dangerous edit is told of when it comes. */
export function tellDanger(
  name: string,
  { verdict, cosine, relative_update, facts = 1, kept }: Danger,
  onCollapse: string,
  terminal: Terminal,
): void {
  if (verdict !== 'disabling') return;
  const refusal = kept
    ? onCollapse === 'warn'
      ? 'It is kept; --on-collapse refuse leaves it out.'
      : ''
    : 'It was left out.';
  const angle = cosine === undefined ? '' : `cosine ${cosine.toPrecision(3)} between key and u, `;
  const share =
    facts === 1
      ? ''
      : ` (as ${facts} edits ${(relative_update / Math.sqrt(facts)).toPrecision(3)} times each)`;
  terminal.warn(
    `${name}, disables the model: ${angle}update ${relative_update.toPrecision(3)} times as large as W${share}. ${refusal}`,
  );
}

export function thresholdsFrom(args: Given<typeof LAB_FLAGS>): Thresholds {
  const { suspectCosine, disablingCosine, suspectUpdate, disablingUpdate } = args;
  return { ...THRESHOLDS, ...said({ suspectCosine, disablingCosine, suspectUpdate, disablingUpdate }) };
}

/** What decides the numbers of a run, whatever it measures; it goes on only with the same. */
export function settingsOf({ settings, edit, seed }: Editing, args: LabArguments, data: string) {
  return {
    ...settings,
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
    thresholds: thresholdsFrom(args),
    seed,
    // A longer run of the same facts may follow, so only their beginning is fixed.
    data,
    from: args.from ?? 0,
  };
}

/** Documents of the corpus whose perplexity is followed. */
const HELD_OUT = 12;
/** Edits between two measurements, and tokens of a generated text. */
export const EVERY = 10;
const TEXT_TOKENS = 50;
const PER_CLASS = 100;

/** What is followed while a model is edited. */
export const HEALTH_FLAGS = {
  'held-out': input(`text, a document a line, whose first ${HELD_OUT} are followed [default: WikiText]`),
  'downstream-every': whole('edits between two runs of the downstream tasks [default: 0, none]', 0),
  'downstream-tasks': text(`which, with commas between [default: ${TASKS.join()}]`),
  'per-class': whole(`examples of each class of a task [default: ${PER_CLASS}]`, 1),
  'rte-labels': choice(['glue', 'published'], 'published: entailed means False, as in the paper'),
} as const;

export type HealthArguments = Given<typeof LAB_FLAGS & typeof HEALTH_FLAGS> &
  Pick<EditArguments, 'seed' | 'onCollapse'> & { readonly every?: number | undefined };

/** Texts of health, read before a model is loaded. @throws UsageError for an unreadable file, or a task that there is not */
export async function readHealth({ heldOut, downstreamEvery, downstreamTasks: words }: HealthArguments) {
  const { text: corpus } = await readData('--held-out', heldOut, 'wikitext.txt');
  if (!downstreamEvery) return { corpus, examples: await readTasks([]) };
  const tasks = words?.split(',').map((word) => {
    const task = TASKS.find((known) => known === word.trim());
    if (!task) throw new UsageError(`--downstream-tasks: expected ${TASKS.join(', ')}, found "${word}".`);
    return task;
  });
  return { corpus, examples: await readTasks(tasks ?? TASKS) };
}

export async function readTasks(tasks: readonly TaskName[]): Promise<Map<TaskName, readonly Labelled[]>> {
  const examples = new Map<TaskName, readonly Labelled[]>();
  for (const task of tasks) {
    const { text: content, name } = await readData('--downstream-tasks', undefined, `glue/${task}.json`);
    examples.set(task, readLabelled(content, name));
  }
  return examples;
}

/** How edits are judged and health is measured, and what of that decides the numbers of a run. */
export function healthFrom(
  args: HealthArguments,
  { corpus, examples }: Awaited<ReturnType<typeof readHealth>>,
  { model, signal }: Session,
) {
  const { seed = 0, every = EVERY, textTokens = TEXT_TOKENS, onCollapse = 'warn' } = args;
  const { downstreamEvery, perClass = PER_CLASS, rteLabels = 'glue' } = args;
  const documents = followed(model, corpus);
  const downstream: HealthOptions['downstream'] = downstreamEvery
    ? {
        every: downstreamEvery,
        run: async (edited) => {
          const options = { perClass, orientation: rteLabels, seed, signal };
          const results = [];
          for (const [task, list] of examples) results.push(await runTask(edited, task, list, options));
          return results;
        },
      }
    : undefined;
  const thresholds = thresholdsFrom(args);
  return {
    options: { seed, every, documents, textTokens, thresholds, onCollapse, downstream, signal },
    settings: {
      seed,
      every,
      held_out: hashOf(documents),
      text_tokens: textTokens,
      on_collapse: onCollapse,
      downstream: downstream
        ? {
            every: downstreamEvery,
            tasks: [...examples.keys()],
            per_class: perClass,
            rte_labels: rteLabels,
            examples: hashOf([...examples]),
          }
        : null,
    },
  };
}

export function followed(model: Model, corpus: string): number[][] {
  return heldOut(model, documentsOf(corpus).slice(0, HELD_OUT));
}

export function documentsOf(corpus: string): string[] {
  return corpus.split('\n').filter((line) => line.trim() !== '');
}

/** `report.html` of a study and its figures, with the model and the adapter in what it is about. */
export async function writeReport(
  folder: string,
  { model, about, timed }: Session,
  { about: rows, ...rest }: Study,
): Promise<Study> {
  const { layers, D } = model.dims;
  const name = `${model.id}, ${layers} layers, width ${D}; sha256 ${model.sha256.slice(0, 16)}`;
  const study = {
    about: [['model', name], ...rows, ['adapter', adapterName(about.adapter)]],
    ...rest,
  } as const;
  const files = await timed('report', () => makeReport(study));
  for (const [file, content] of files) await writeAtomic(join(folder, file), content);
  return study;
}
