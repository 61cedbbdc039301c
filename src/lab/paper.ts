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

/** On two cores with a software adapter at most a quarter of an hour. */
export const PAPER_PLAN = {
  methods: ['rome', 'p-rome', 'r-rome'] as readonly Method[],
  records: 12,
  textTokens: 100,
  /** Edits of each sequence, and between two measurements of it. */
  edits: 30,
  every: 10,
  tasks: ['sst2', 'mrpc', 'cola', 'rte'] as readonly TaskName[],
  /** Examples of each class of a task. */
  perClass: 10,
  /** Facts edited in other words, as completion and as question, with the false and the true object. */
  styled: 4,
  traced: 4,
  /** Facts edited at each layer; 0 for no sweep. */
  swept: 2,
  seed: 0,
};

export type PaperPlan = Readonly<typeof PAPER_PLAN>;

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

/** @returns everything but the title and what the report says of the circumstances */
export async function runPaper(
  model: Model,
  input: PaperInput,
  plan: PaperPlan,
): Promise<Omit<Study, 'title' | 'about' | 'command'>> {
  const { facts, documents, examples, edit, onProgress, signal } = input;
  const { methods, every, seed } = plan;
  const telling =
    (step: string) =>
    (_: unknown, done: number, total: number): void =>
      onProgress?.(step, done, total);

  const runTasks = async (): Promise<TaskResult[]> => {
    const { tasks, perClass } = plan;
    const results: TaskResult[] = [];
    for (const task of tasks) {
      onProgress?.('downstream tasks', results.length, tasks.length);
      results.push(await runTask(model, task, examples.get(task) ?? [], { perClass, seed, signal }));
    }
    return results;
  };

  /** The same facts in the same order with each method; the downstream tasks before the first edit and after the last. */
  const runSequences = async (): Promise<Pick<Study, 'sequences' | 'downstream'>> => {
    const some = facts.slice(0, plan.edits);
    // Every sequence begins with the same unedited model: it is asked once.
    const unedited = await runTasks();
    const sequences: SequenceRun[] = [];
    for (const method of methods) {
      const { layer, contexts } = edit;
      const settings = { method, edits: plan.edits, every, seed, layer, contexts };
      const journal = (await input.journalOf?.(method, settings)) ?? memoryJournal();
      let known = journal.head ? undefined : unedited;
      const run = async (): Promise<TaskResult[]> => {
        const results = known ?? (await runTasks());
        known = undefined;
        return results;
      };
      const options: SequenceOptions = {
        ...{ method, edit, every, documents, seed, signal },
        onCollapse: 'warn',
        mostEarlier: every,
        downstream: { every: some.length, run },
        onLine: (line, total) => onProgress?.(`sequence of ${method}`, line.edit, total),
      };
      await runSequence(model, some, options, journal, settings);
      if (journal.head) sequences.push({ method, head: journal.head, lines: journal.lines });
    }
    const edited = sequences.flatMap(({ method, lines }) =>
      lines.flatMap(({ edit: number, downstream = [] }) =>
        (downstream as readonly TaskResult[]).map((result) => ({ method, edit: number, result })),
      ),
    );
    return { sequences, downstream: [...unedited.map((result) => ({ edit: 0, result })), ...edited] };
  };

  /** Facts of which both styles are known. */
  const runStyles = async (): Promise<StyleRow[]> => {
    const some = facts.filter((fact) => variantsOf(fact).length === 4).slice(0, plan.styled);
    return compareStyles(model, some, { methods, edit, onCase: telling('prompt styles'), signal });
  };

  /** The average over facts that the model knows, and the one that shows most. */
  const runTracing = async (): Promise<Pick<Study, 'trace' | 'average'>> => {
    const known = await knownFacts(model, facts, plan.traced);
    const subjects = facts.map(({ subject }) => subject);
    const noise = await noiseOf(model, subjects);
    const tracings: Tracing[] = [];
    const average = await traceFacts(model, known, { noise, seed, signal }, (tracing, done) => {
      tracings.push(tracing);
      onProgress?.('causal tracing', done, known.length);
    });
    return { average, trace: tracings.toSorted((a, b) => peak(b) - peak(a))[0] };
  };

  const runSweep = async (): Promise<LayerScore[]> => {
    const solverOf = async (layer: number): Promise<Solver> =>
      layer === edit.layer ? edit.solver : input.solverAt(layer);
    return sweepLayers(model, facts.slice(0, plan.swept), {
      layers: Array.from({ length: model.dims.layers - 1 }, (_, layer) => layer),
      method: 'r-rome',
      editAt: async (layer) => ({ ...edit, layer, solver: await solverOf(layer) }),
      seed,
      onProgress: (done, total) => onProgress?.('layers', done, total),
      signal,
    });
  };

  const { records, textTokens } = plan;
  const single = { methods, edit, seed, textTokens, onCase: telling('single edits'), signal };
  return {
    evaluation: { cases: await evaluate(model, facts.slice(0, records), single), seed },
    ...(await runSequences()),
    styles: plan.styled > 0 ? await runStyles() : undefined,
    ...(plan.traced > 0 ? await runTracing() : undefined),
    sweep: plan.swept > 0 ? await runSweep() : undefined,
  };
}

/** The largest effect of an MLP within the subject. */
function peak({ effects, subject: [from, to] }: Tracing): number {
  return Math.max(...(effects.mlp ?? []).slice(from, to).flat());
}
