/**
 * The paper's study on one model, from the first edit to the report: single edits, one edit after another, prompt styles,
 * downstream tasks, and tracing, each with ROME, p-ROME and r-ROME.
 *
 * Source: Gupta et al. 2024, "Rebuilding ROME".
 */
import type { Fact } from '../data/fact.ts';
import type { Labelled } from '../data/labelled.ts';
import { UsageError } from '../errors.ts';
import type { EditOptions } from '../edit/edit.ts';
import type { Method } from '../edit/method.ts';
import type { Solver } from '../edit/solver.ts';
import type { Model } from '../models/model.ts';
import type { TaskName } from './downstream-tasks.ts';
import { runTask } from './downstream.ts';
import type { TaskResult } from './downstream.ts';
import { evaluate } from './evaluate.ts';
import { NOISE_FACTOR, embeddingDeviation } from './noise.ts';
import type { DownstreamRow, SequenceRun, Study } from './report/study.ts';
import { memoryJournal, runSequence } from './sequence.ts';
import type { SequenceHead, SequenceJournal } from './sequence.ts';
import { compareStyles, variantsOf } from './styles.ts';
import type { StyleRow } from './styles.ts';
import { sweepLayers } from './sweep.ts';
import type { LayerScore } from './sweep.ts';
import { knownFacts, traceFacts } from './trace-average.ts';
import type { Tracing } from './trace.ts';

/** How much of everything. */
export interface PaperPlan {
  readonly methods: readonly Method[];
  /** Single edits. */
  readonly records: number;
  readonly textTokens: number;
  /** Edits of each sequence, and between two measurements of it. */
  readonly edits: number;
  readonly every: number;
  readonly tasks: readonly TaskName[];
  /** Examples of each class of a task. */
  readonly perClass: number;
  /** Facts edited in other words, as completion and as question, with the false and the true object. */
  readonly styled: number;
  /** Facts traced. */
  readonly traced: number;
  /** Facts edited at each layer; 0 for no sweep. */
  readonly swept: number;
  readonly seed: number;
}

/** On two cores with a software adapter at most a quarter of an hour. */
export const PAPER_PLAN: PaperPlan = {
  methods: ['rome', 'p-rome', 'r-rome'],
  records: 12,
  textTokens: 100,
  edits: 30,
  every: 10,
  tasks: ['sst2', 'mrpc', 'cola', 'rte'],
  perClass: 10,
  styled: 4,
  traced: 4,
  swept: 2,
  seed: 0,
};

export interface PaperInput {
  readonly facts: readonly Fact[];
  /** Ids of held-out documents. */
  readonly documents: readonly (readonly number[])[];
  readonly examples: ReadonlyMap<TaskName, readonly Labelled[]>;
  readonly edit: Omit<EditOptions, 'methods' | 'signal'>;
  /** C of other layers, for the sweep. */
  readonly solverAt: (layer: number) => Promise<Solver>;
  /** Where a sequence is kept; absent: in memory. */
  readonly journalOf?: (method: Method) => Promise<SequenceJournal>;
}

export interface PaperOptions {
  /** A step begins, or has come so far. */
  readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Everything but the title and what the report says of the circumstances. */
export type PaperResult = Omit<Study, 'title' | 'about' | 'command'>;

export async function runPaper(
  model: Model,
  input: PaperInput,
  plan: PaperPlan,
  options: PaperOptions = {},
): Promise<PaperResult> {
  const { seed } = plan;
  const cases = await evaluate(model, input.facts.slice(0, plan.records), {
    methods: plan.methods,
    edit: input.edit,
    seed,
    textTokens: plan.textTokens,
    onCase: (_, done, total) => options.onProgress?.('single edits', done, total),
    signal: options.signal,
  });
  const { sequences, downstream } = await runSequences(model, input, plan, options);
  return {
    evaluation: { cases, seed },
    sequences,
    downstream,
    styles: plan.styled > 0 ? await runStyles(model, input, plan, options) : undefined,
    ...(await runTracing(model, input, plan, options)),
    sweep: plan.swept > 0 ? await runSweep(model, input, plan, options) : undefined,
  };
}

/** The same facts in the same order with each method; the downstream tasks before the first edit and after the last. */
async function runSequences(
  model: Model,
  input: PaperInput,
  { methods, edits, every, seed, tasks, perClass }: PaperPlan,
  options: PaperOptions,
): Promise<{ sequences: SequenceRun[]; downstream: DownstreamRow[] }> {
  const ask = async (): Promise<TaskResult[]> => {
    const results: TaskResult[] = [];
    for (const task of tasks) {
      options.onProgress?.('downstream tasks', results.length, tasks.length);
      results.push(
        await runTask(model, task, input.examples.get(task) ?? [], {
          perClass,
          seed,
          signal: options.signal,
        }),
      );
    }
    return results;
  };
  // Every sequence begins with the same unedited model: it is asked once.
  const unedited = await ask();
  const sequences: SequenceRun[] = [];
  for (const method of methods) {
    const journal = (await input.journalOf?.(method)) ?? memoryJournal();
    const facts = input.facts.slice(0, edits);
    const settings = { method, edits, every, seed, layer: input.edit.layer, contexts: input.edit.contexts };
    checkSettings(journal, settings);
    const lines = [...journal.lines];
    let begun = false;
    const run = async (): Promise<TaskResult[]> => {
      if (begun || journal.head) return ask();
      begun = true;
      return unedited;
    };
    await runSequence(
      model,
      facts,
      {
        method,
        edit: input.edit,
        onCollapse: 'warn',
        every,
        documents: input.documents,
        seed,
        mostEarlier: every,
        downstream: { every: facts.length, run },
        onLine: (line, total) => {
          lines.push(line);
          options.onProgress?.(`sequence of ${method}`, line.edit, total);
        },
        signal: options.signal,
      },
      journal,
      settings,
    );
    if (journal.head) sequences.push({ method, head: journal.head, lines });
  }
  const downstream = [
    ...unedited.map((result) => ({ edit: 0, result })),
    ...sequences.flatMap(({ method, lines }) =>
      lines.flatMap(({ edit, downstream: results }) =>
        ((results ?? []) as readonly TaskResult[]).map((result) => ({ method, edit, result })),
      ),
    ),
  ];
  return { sequences, downstream };
}

/** Facts of which both styles are known. */
async function runStyles(
  model: Model,
  { facts, edit }: PaperInput,
  { styled, methods }: PaperPlan,
  options: PaperOptions,
): Promise<StyleRow[]> {
  const targets = ['new', 'true'] as const;
  const whole = facts.filter((fact) => variantsOf(fact, targets).length === 4).slice(0, styled);
  let done = 0;
  const onRow = (): void =>
    options.onProgress?.('prompt styles', (done += 1), 4 * whole.length * methods.length);
  return compareStyles(model, whole, { methods, edit, targets, onRow, signal: options.signal });
}

async function runTracing(
  model: Model,
  { facts }: PaperInput,
  { traced, seed }: PaperPlan,
  options: PaperOptions,
): Promise<Pick<Study, 'trace' | 'average'>> {
  if (traced === 0) return {};
  const known = (await knownFacts(model, facts.slice(0, 10 * traced))).slice(0, traced);
  const subjects = facts.slice(0, 1000).map(({ subject }) => subject);
  const noise = NOISE_FACTOR * (await embeddingDeviation(model, subjects));
  const tracings: Tracing[] = [];
  const average = await traceFacts(model, known, { noise, seed, signal: options.signal }, (tracing, done) => {
    tracings.push(tracing);
    options.onProgress?.('causal tracing', done, known.length);
  });
  const clearest = tracings.reduce<Tracing | undefined>(
    (best, next) => (best && peak(best) >= peak(next) ? best : next),
    undefined,
  );
  return { average, trace: clearest };
}

/** The largest effect of an MLP within the subject: the fact that shows most is the one to look at. */
function peak({ effects, subject: [from, to] }: Tracing): number {
  return Math.max(...(effects.mlp ?? []).slice(from, to).flat());
}

async function runSweep(
  model: Model,
  { facts, edit, solverAt }: PaperInput,
  { swept, seed }: PaperPlan,
  options: PaperOptions,
): Promise<LayerScore[]> {
  const layers = Array.from({ length: model.dims.layers - 1 }, (_, layer) => layer);
  return sweepLayers(model, facts.slice(0, swept), {
    layers,
    method: 'r-rome',
    editAt: async (layer) => ({
      ...edit,
      layer,
      solver: layer === edit.layer ? edit.solver : await solverAt(layer),
    }),
    seed,
    onLayer: (_, done) => options.onProgress?.('layers', done, layers.length),
    signal: options.signal,
  });
}

/** A sequence is only gone on with by the study that began it. */
function checkSettings({ head }: SequenceJournal, settings: SequenceHead['settings']): void {
  if (!head || JSON.stringify(head.settings) === JSON.stringify(settings)) return;
  const differ = Object.keys(settings).filter(
    (name) => JSON.stringify(head.settings[name]) !== JSON.stringify(settings[name]),
  );
  throw new UsageError(
    `paper: expected a sequence of the same study, but ${differ.join(', ')} of the one that is there differ. Choose another folder with --out.`,
  );
}
