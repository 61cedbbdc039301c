/**
 * The paper's study on one model, from the first edit to the report: single edits, one edit after another, prompt styles,
 * downstream tasks, and tracing, each with ROME, p-ROME and r-ROME.
 *
 * Source: Gupta et al. 2024, "Rebuilding ROME".
 */
import type { Fact } from '../data/fact.ts';
import type { Labelled } from '../data/labelled.ts';
import type { EditSettings } from '../edit/edit.ts';
import type { Method } from '../edit/method.ts';
import type { Solver } from '../edit/covariance-solver.ts';
import type { Model } from '../models/model.ts';
import type { TaskName } from './downstream-tasks.ts';
import { runTask, type TaskResult } from './downstream.ts';
import { evaluate } from './evaluate.ts';
import type { SequenceRun, Study } from './report/study.ts';
import { memoryJournal } from './run-journal.ts';
import { runSequence, type SequenceHead, type SequenceJournal, type SequenceOptions } from './sequence.ts';
import { compareStyles, variantsOf, type StyleRow } from './styles.ts';
import { knownFacts, noiseOf, sweepLayers, traceFacts, type LayerScore } from './trace-average.ts';
import type { Tracing } from './trace.ts';

export interface PaperPlan {
  readonly methods: readonly Method[];
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

interface PaperInput {
  readonly facts: readonly Fact[];
  /** Ids of the documents whose perplexity is followed. */
  readonly documents: readonly (readonly number[])[];
  readonly examples: ReadonlyMap<TaskName, readonly Labelled[]>;
  readonly edit: EditSettings;
  /** C of other layers, for the sweep. */
  readonly solverAt: (layer: number) => Promise<Solver>;
  /** Where a sequence is kept, and what it must have been begun with; absent: in memory. */
  readonly journalOf?: (method: Method, settings: SequenceHead['settings']) => Promise<SequenceJournal>;
  /** A step begins, or has come so far. */
  readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A step of the study: what it is run on, and how much of it. */
type Step<Result> = (model: Model, input: PaperInput, plan: PaperPlan) => Promise<Result>;

/** Everything but the title and what the report says of the circumstances. */
export const runPaper: Step<Omit<Study, 'title' | 'about' | 'command'>> = async (model, input, plan) => ({
  evaluation: await runSingleEdits(model, input, plan),
  ...(await runSequences(model, input, plan)),
  styles: plan.styled > 0 ? await runStyles(model, input, plan) : undefined,
  ...(plan.traced > 0 ? await runTracing(model, input, plan) : undefined),
  sweep: plan.swept > 0 ? await runSweep(model, input, plan) : undefined,
});

const runSingleEdits: Step<Study['evaluation']> = async (model, input, plan) => {
  const { methods, seed, textTokens, records } = plan;
  const { edit, onProgress, signal } = input;
  const onCase = (_: unknown, done: number, total: number): void => onProgress?.('single edits', done, total);
  const options = { methods, edit, seed, textTokens, onCase, signal };
  return { cases: await evaluate(model, input.facts.slice(0, records), options), seed };
};

/** The same facts in the same order with each method; the downstream tasks before the first edit and after the last. */
const runSequences: Step<Pick<Study, 'sequences' | 'downstream'>> = async (model, input, plan) => {
  const { methods, edits, every, seed } = plan;
  const { edit, documents, onProgress, signal } = input;
  const facts = input.facts.slice(0, edits);
  // Every sequence begins with the same unedited model: it is asked once.
  const unedited = await runTasks(model, input, plan);
  const sequences: SequenceRun[] = [];
  for (const method of methods) {
    const settings = { method, edits, every, seed, layer: edit.layer, contexts: edit.contexts };
    const journal = (await input.journalOf?.(method, settings)) ?? memoryJournal();
    const lines = [...journal.lines];
    let known = journal.head ? undefined : unedited;
    const options: SequenceOptions = {
      method,
      edit,
      onCollapse: 'warn',
      every,
      documents,
      seed,
      mostEarlier: every,
      downstream: {
        every: facts.length,
        run: async () => {
          const results = known ?? (await runTasks(model, input, plan));
          known = undefined;
          return results;
        },
      },
      onLine: (line, total) => {
        lines.push(line);
        onProgress?.(`sequence of ${method}`, line.edit, total);
      },
      signal,
    };
    await runSequence(model, facts, options, journal, settings);
    if (journal.head) sequences.push({ method, head: journal.head, lines });
  }
  const edited = sequences.flatMap(({ method, lines }) =>
    lines.flatMap(({ edit, downstream = [] }) =>
      (downstream as readonly TaskResult[]).map((result) => ({ method, edit, result })),
    ),
  );
  return { sequences, downstream: [...unedited.map((result) => ({ edit: 0, result })), ...edited] };
};

const runTasks: Step<TaskResult[]> = async (model, { examples, onProgress, signal }, plan) => {
  const { tasks, perClass, seed } = plan;
  const results: TaskResult[] = [];
  for (const task of tasks) {
    onProgress?.('downstream tasks', results.length, tasks.length);
    results.push(await runTask(model, task, examples.get(task) ?? [], { perClass, seed, signal }));
  }
  return results;
};

/** Facts of which both styles are known. */
const runStyles: Step<StyleRow[]> = async (model, input, { styled, methods }) => {
  const { edit, onProgress, signal } = input;
  const facts = input.facts.filter((fact) => variantsOf(fact).length === 4).slice(0, styled);
  const onCase = (_: unknown, done: number, total: number): void =>
    onProgress?.('prompt styles', done, total);
  return compareStyles(model, facts, { methods, edit, onCase, signal });
};

/** The average over facts that the model knows, and the one that shows most. */
const runTracing: Step<Pick<Study, 'trace' | 'average'>> = async (model, input, { traced, seed }) => {
  const { facts, onProgress, signal } = input;
  const known = await knownFacts(model, facts, traced);
  const subjects = facts.map(({ subject }) => subject);
  const noise = await noiseOf(model, subjects);
  const tracings: Tracing[] = [];
  const average = await traceFacts(model, known, { noise, seed, signal }, (tracing, done) => {
    tracings.push(tracing);
    onProgress?.('causal tracing', done, known.length);
  });
  return { average, trace: tracings.toSorted((a, b) => peak(b) - peak(a))[0] };
};

/** The largest effect of an MLP within the subject. */
function peak({ effects, subject: [from, to] }: Tracing): number {
  return Math.max(...(effects.mlp ?? []).slice(from, to).flat());
}

const runSweep: Step<LayerScore[]> = async (model, input, { swept, seed }) => {
  const { facts, edit, solverAt, onProgress, signal } = input;
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
    onLayer: (_, done) => onProgress?.('layers', done, layers.length),
    signal,
  });
};
