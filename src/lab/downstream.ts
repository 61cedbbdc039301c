/** What a model can still do: GLUE tasks with shown examples, three greedy tokens an answer. */
import type { Labelled } from '../data/labelled.ts';
import { ModelError, UsageError } from '../errors.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import { Random } from '../models/random.ts';
import { parseAnswer, promptOf, taskOf } from './downstream-tasks.ts';
import type { Orientation, Task, TaskName } from './downstream-tasks.ts';
import { score } from './score.ts';
import { matthews, mean, weightedF1 } from '../statistics.ts';

export interface DownstreamOptions {
  /** Examples of each class. Published: 100. */
  readonly perClass?: number;
  readonly seed?: number;
  readonly orientation?: Orientation;
  readonly signal?: AbortSignal | undefined;
}

/** Scores of one task; percentages 0..100, MCC −1..1. */
export type TaskResult = Awaited<ReturnType<typeof runTask>>;

const ANSWER_TOKENS = 3;
/** Bounds the cache of keys and values of one batch. */
const CACHE_BYTES = 128 * 2 ** 20;

/** @throws UsageError when a class has no examples */
export async function runTask(
  model: Model,
  name: TaskName,
  examples: readonly Labelled[],
  options: DownstreamOptions = {},
) {
  const { perClass = 100, seed = 0, orientation = 'glue', signal } = options;
  const task = taskOf(name, orientation);
  const asked = choose(task, examples, perClass, seed).map(({ texts, label }) => ({
    ...{ label, answer: -1, choice: -1 },
    ...fitPrompt(model, task, texts),
  }));
  // Prompts with equally many examples begin alike, so they go together.
  asked.sort((a, b) => b.shots - a.shots);
  const { context, KV, S, layers } = model.dims;
  const most = Math.max(1, Math.min(64, Math.floor(CACHE_BYTES / (8 * context * KV * S * layers))));
  for (let from = 0; from < asked.length;) {
    signal?.throwIfAborted();
    const shots = asked[from]?.shots;
    const batch = asked.slice(from, from + most).filter((prompt) => prompt.shots === shots);
    const prompts = batch.map(({ ids }) => ids);
    const texts = await answer(model, prompts, signal);
    const likely = await likelier(model, task, prompts);
    batch.forEach((prompt, b) => {
      prompt.answer = parseAnswer(task, texts[b] ?? '');
      prompt.choice = likely[b] ?? -1;
    });
    from += batch.length;
  }
  const of = (what: 'label' | 'answer' | 'choice' | 'shots'): number[] => asked.map((one) => one[what]);
  const [truth, shown] = [of('label'), of('shots')];
  const { f1, mcc } = scoreAnswers(task, truth, of('choice'));
  return {
    task: name,
    ...scoreAnswers(task, truth, of('answer')),
    /** The same by likelihood: the class whose word the model finds more likely, so that no answer is invalid. */
    choice: { f1, mcc },
    /** Examples shown: wanted, and those that fitted into the context window beside the question. */
    shots: { wanted: task.shots.length, mean: mean(shown) ?? NaN, least: Math.min(...shown) },
    /** Questions that were cut at their beginning, since even alone they do not fit. */
    cut: asked.filter(({ cut }) => cut).length,
  };
}

/** @param answers a class each, or -1 */
export function scoreAnswers(task: Task, truth: readonly number[], answers: readonly number[]) {
  const n = truth.length;
  const share = (count: number): number => (100 * count) / n;
  const constants = task.answers.map((_, label) => weightedF1(truth, Array<number>(n).fill(label)));
  return {
    n,
    f1: 100 * weightedF1(truth, answers),
    mcc: matthews(truth, answers),
    accuracy: share(truth.filter((label, i) => label === answers[i]).length),
    /** Answers that name no class. */
    invalid: share(answers.filter((label) => label < 0).length),
    /** F1 of the best constant answer: what a model scores that does not read. */
    constant_f1: 100 * Math.max(...constants),
  };
}

/** The same examples for the same seed: shuffled, then the first of each class. */
function choose(task: Task, examples: readonly Labelled[], perClass: number, seed: number) {
  const random = new Random(seed);
  const shuffled = [...examples];
  for (let i = shuffled.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random.uniform() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j] as Labelled, shuffled[i] as Labelled];
  }
  return task.answers.flatMap((_, label) => {
    const mine = shuffled.filter((example) => example.label === label).slice(0, perClass);
    if (mine.length === 0)
      throw new UsageError(
        `${task.title}: expected examples of class ${label}, found none. Check the data file.`,
      );
    return mine;
  });
}

/** As many examples as fit before the question; a question that is too long alone loses its beginning. */
function fitPrompt(model: Model, task: Task, texts: readonly string[]) {
  const room = model.dims.context - ANSWER_TOKENS;
  for (let shots = task.shots.length; ; shots -= 1) {
    const ids = model.tokenizer.encode(promptOf(task, texts, shots));
    if (ids.length <= room || shots === 0) return { ids: ids.slice(-room), shots, cut: ids.length > room };
  }
}

/** The class whose word is most likely, per token, after each prompt; -1 where the likelihoods are no numbers. */
async function likelier(model: Model, task: Task, prompts: readonly (readonly number[])[]) {
  // Every prompt ends as this one does, so its answers have these tokens.
  const asked = task.ask([]);
  const words = task.answers.map((word) => model.tokenizer.encodeTarget(asked, word).target);
  const items = prompts.flatMap((prompt) => words.map((target) => ({ prompt, target })));
  const scores = await score(model, items);
  return prompts.map((_, b) => {
    const mine = scores.slice(b * words.length, (b + 1) * words.length).map(({ nll }) => nll);
    return mine.every(Number.isFinite) ? mine.indexOf(Math.min(...mine)) : -1;
  });
}

/** Greedy answers; empty ones where the model has no finite logits any more. */
async function answer(model: Model, prompts: number[][], signal?: AbortSignal): Promise<string[]> {
  try {
    const options = { tokens: ANSWER_TOKENS, topK: 1, seed: 0, signal };
    return (await generate(model, prompts, options)).map((ids) => model.tokenizer.decodeAfter(ids));
  } catch (error) {
    if (error instanceof ModelError) return prompts.map(() => '');
    throw error;
  }
}
