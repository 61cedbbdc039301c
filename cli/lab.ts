/**
 * What the commands of a researcher share: a model to edit with thresholds of its own, the facts of a data file, C of many
 * layers, downstream tasks, and the settings of a run that is gone on with.
 */
import type { Fact } from '../src/data/fact.ts';
import { readLabelled } from '../src/data/labelled.ts';
import type { Labelled } from '../src/data/labelled.ts';
import { readFacts } from '../src/data/read.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import { buildCovariance } from '../src/edit/covariance.ts';
import type { EditSettings } from '../src/edit/edit.ts';
import { THRESHOLDS } from '../src/edit/guard.ts';
import type { Thresholds } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Placed } from '../src/edit/pack-documents.ts';
import { UsageError } from '../src/errors.ts';
import type { Model } from '../src/models/model.ts';
import { TASKS } from '../src/lab/downstream-tasks.ts';
import type { TaskName } from '../src/lab/downstream-tasks.ts';
import { runTask } from '../src/lab/downstream.ts';
import type { BatchLine } from '../src/lab/run-journal.ts';
import { heldOut } from '../src/lab/health.ts';
import type { SequenceLine, SequenceOptions } from '../src/lab/sequence.ts';
import type { Run } from './commands.ts';
import { withEditing } from './edit-options.ts';
import type { EditArguments } from './edit-options.ts';
import { readData } from '../src/io/file.ts';
import { FROM_0, FROM_1, LEAST_0, type Given, choice, input, number, text } from './flags.ts';
import type { ModelArguments, Session } from './session.ts';
import { plural } from '../src/numerals.ts';

/** Flags of both commands, beside those of an edit. */
export const LAB_FLAGS = {
  from: number('the first record, from 0 [default: 0]', FROM_0),
  count: number('records [default: all]', FROM_1),
  'suspect-cosine': number(
    `|k · u| / (|k| |u|) below it is suspect [default: ${THRESHOLDS.suspectCosine}]`,
    LEAST_0,
  ),
  'disabling-cosine': number(`and below it disabling [default: ${THRESHOLDS.disablingCosine}]`, LEAST_0),
  'suspect-update': number(
    `|u lambda^T| / |W| above it is suspect [default: ${THRESHOLDS.suspectUpdate}]`,
    LEAST_0,
  ),
  'disabling-update': number(`and above it disabling [default: ${THRESHOLDS.disablingUpdate}]`, LEAST_0),
  'text-tokens': number('tokens of a generated text, its prompt included; 0 for none', FROM_0),
} as const;

export type LabArguments = EditArguments &
  ModelArguments &
  Given<typeof LAB_FLAGS & { readonly data: typeof DATA }>;

/** The data file as a positional. */
export const DATA = input(
  'CounterFact, zsRE, EasyEdit, FastEdit, CSV (prompt,subject,target,true) or plain lines [default: CounterFact]',
);

export interface Lab {
  readonly session: Session;
  readonly edit: EditSettings;
  /** Seed that the contexts were sampled with; undefined for those of a file. */
  readonly contextsSeed: number | undefined;
  /** Where C comes from, in words. */
  readonly covariance: string;
  readonly thresholds: Thresholds;
  readonly seed: number;
}

/** @throws UsageError for an unreadable file, or a range without records; before a model is loaded */
export async function factsFrom({
  data,
  from = 0,
  count,
}: Pick<LabArguments, 'data' | 'from' | 'count'>): Promise<{ facts: Fact[]; name: string }> {
  const { text: content, name } = await readData('data', data, 'counterfact.json');
  const all = readFacts(content, name);
  const facts = all.slice(from, count === undefined ? undefined : from + count);
  if (facts.length === 0)
    throw new UsageError(`--from: expected a record of the ${all.length} of ${name}, found ${from}.`);
  return { facts, name };
}

/** Opens everything that edits need, runs `use`, and gives it back. */
export function withLab<T>(args: LabArguments, run: Run, use: (lab: Lab) => Promise<T>): Promise<T> {
  return withEditing(args, run, ({ session, options, solverTitle, ...seeds }) =>
    use({ session, edit: options, covariance: solverTitle, thresholds: thresholdsFrom(args), ...seeds }),
  );
}

/** What the guard says of an edit, or of a batch of them. */
interface Danger extends Pick<SequenceLine, 'verdict' | 'relative_update' | 'kept'> {
  readonly cosine?: number | undefined;
  /** Facts of a batch. */
  readonly facts?: number | undefined;
}

/** Every dangerous edit is told of when it comes. */
export function tellDanger(
  name: string,
  { verdict, cosine, relative_update, facts = 1, kept }: Danger,
  onCollapse: string,
  { terminal }: Run,
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

/** The same of a batch that was just written. */
export function tellBatch(line: BatchLine, onCollapse: string, run: Run): void {
  const { batch, method, case_ids, layers, verdict, cosine, kept } = line;
  const facts = case_ids.length;
  const relative_update = Math.max(...layers.map((layer) => layer.relative_update));
  const name = `batch ${batch}, ${METHOD_TABLE[method].title} on ${plural(facts, 'fact')}`;
  tellDanger(name, { verdict, cosine, relative_update, facts, kept }, onCollapse, run);
}

export function thresholdsFrom(args: Given<typeof LAB_FLAGS>): Thresholds {
  return {
    suspectCosine: args.suspectCosine ?? THRESHOLDS.suspectCosine,
    disablingCosine: args.disablingCosine ?? THRESHOLDS.disablingCosine,
    suspectUpdate: args.suspectUpdate ?? THRESHOLDS.suspectUpdate,
    disablingUpdate: args.disablingUpdate ?? THRESHOLDS.disablingUpdate,
  };
}

/** What decides the numbers of a run, whatever it measures; it goes on only with the same. */
export function settingsOf(
  { session, edit, thresholds, seed }: Lab,
  args: LabArguments,
  data: string,
): Record<string, unknown> {
  const { adapter, model } = session.about;
  return {
    adapter: adapter.description,
    model,
    edits: session.edits.map(({ id }) => id),
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
    seed,
    // A longer run of the same facts may follow, so only their beginning is fixed.
    data,
    from: args.from ?? 0,
  };
}

/** How a folder for a run is opened. */
export function runMode(
  { resume }: { readonly resume: boolean },
  { files }: Run,
): 'new' | 'resume' | 'overwrite' {
  return resume ? 'resume' : files.overwrite ? 'overwrite' : 'new';
}

/** Ten times the rank that C must have. */
const TOKENS_PER_KEY = 10;

/**
 * Solvers by layer; C of all `layers` is built in one pass when the first one is asked for.
 *
 * @param texts documents, as many as are needed are read
 */
export function layerSolvers(
  { model, gpu, atEnd }: Pick<Session, 'model' | 'gpu' | 'atEnd'>,
  texts: readonly string[],
  layers: readonly number[],
  signal?: AbortSignal,
): (layer: number) => Promise<Solver> {
  const tokens = TOKENS_PER_KEY * model.dims.F;
  let building: ReturnType<typeof build> | undefined;
  const build = () => buildCovariance(model, { layers, tokens, documents: () => placed(texts), signal });
  return async (layer) => {
    const { built, tokens: counted } = await (building ??= build());
    const found = built.find((one) => one.layer === layer);
    if (!found) throw new RangeError(`covariance: layer ${layer} is none of ${layers.join(', ')}.`);
    const key = `sweep-layer-${layer}`;
    const solver = await covarianceSolver(gpu, {
      key,
      size: model.dims.F,
      tokens: counted,
      panels: found.covariance,
    });
    atEnd(() => solver.close());
    return solver;
  };
}

async function* placed(texts: readonly string[]): AsyncGenerator<Placed<number>> {
  for (const [index, text] of texts.entries()) yield { text, index, next: index + 1 };
}

/** Documents of the corpus whose perplexity is followed. */
const HELD_OUT = 12;

export const HELD_OUT_FLAG = input(
  `text, a document a line, whose first ${HELD_OUT} are followed [default: WikiText]`,
);

/** Ids of the first documents of a corpus, a line each. */
export function followed(model: Model, corpus: string): number[][] {
  const lines = corpus.split('\n').filter((line) => line.trim() !== '');
  return heldOut(model, lines.slice(0, HELD_OUT));
}

export const PER_CLASS = 100;

export const DOWNSTREAM_FLAGS = {
  'downstream-every': number('edits between two runs of the downstream tasks [default: 0, none]', FROM_0),
  'downstream-tasks': text(`which, with commas between [default: ${TASKS.join()}]`),
  'per-class': number(`examples of each class of a task [default: ${PER_CLASS}]`, FROM_1),
  'rte-labels': choice(['glue', 'published'], 'published: entailed means False, as in the paper'),
} as const;

export type DownstreamArguments = Given<typeof DOWNSTREAM_FLAGS>;

export async function examplesFrom(args: DownstreamArguments): Promise<Map<TaskName, readonly Labelled[]>> {
  if (!args.downstreamEvery) return new Map();
  const tasks = args.downstreamTasks?.split(',').map((word) => {
    const task = TASKS.find((known) => known === word.trim());
    if (!task) throw new UsageError(`--downstream-tasks: expected ${TASKS.join(', ')}, found "${word}".`);
    return task;
  });
  return readTasks(tasks ?? TASKS);
}

export async function readTasks(tasks: readonly TaskName[]): Promise<Map<TaskName, readonly Labelled[]>> {
  const examples = new Map<TaskName, readonly Labelled[]>();
  for (const task of tasks) {
    const { text: content, name } = await readData('--downstream-tasks', undefined, `glue/${task}.json`);
    examples.set(task, readLabelled(content, name));
  }
  return examples;
}

export function downstreamFrom(
  args: DownstreamArguments,
  examples: ReadonlyMap<TaskName, readonly Labelled[]>,
  seed: number,
  signal: AbortSignal,
): SequenceOptions['downstream'] {
  if (!args.downstreamEvery) return undefined;
  const options = {
    perClass: args.perClass ?? PER_CLASS,
    orientation: args.rteLabels ?? 'glue',
    seed,
    signal,
  };
  return {
    every: args.downstreamEvery,
    run: async (model) => {
      const results = [];
      for (const [task, list] of examples) results.push(await runTask(model, task, list, options));
      return results;
    },
  };
}
