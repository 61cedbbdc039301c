/**
 * Single edits over a data set: each fact is edited on the unedited model, measured, and taken back bit for bit.
 *
 * v* is optimised once a fact, whatever the methods; each method's update is then measured for itself.
 */
import type { Fact } from '../data/fact.ts';
import { withUpdate } from '../edit/apply.ts';
import { computeEdit } from '../edit/edit.ts';
import type { Edit, EditOptions, Update } from '../edit/edit.ts';
import { THRESHOLDS, judge } from '../edit/guard.ts';
import type { Thresholds, Verdict } from '../edit/guard.ts';
import type { Method } from '../edit/method.ts';
import { editRows } from '../edit/rows.ts';
import type { Model } from '../models/model.ts';
import { consistency } from './fluency.ts';
import type { InverseFrequencies } from './fluency.ts';
import { caseMetrics } from './metrics.ts';
import type { CaseMetrics, FactScores, Rivals } from './metrics.ts';
import { scoreFacts } from './probes.ts';
import { measureTexts, writeTexts } from './texts.ts';

export interface EvaluateOptions {
  readonly methods: readonly Method[];
  readonly edit: Omit<EditOptions, 'methods' | 'signal'>;
  /** Of texts. */
  readonly seed: number;
  /** false: edits are judged and not measured. Default true. */
  readonly measure?: boolean;
  /** Tokens of a text, prompt included; 0 for none. Default 100. */
  readonly textTokens?: number;
  readonly thresholds?: Thresholds;
  /** Reference texts of a fact, and the weights of their terms: what consistency compares with. */
  readonly references?: {
    readonly idf: InverseFrequencies;
    readonly of: (fact: Fact) => readonly string[];
  };
  readonly onCase?: (result: CaseResult, done: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Log-probabilities per token of both objects, prompt by prompt; the true ones null where there is none. */
export interface PromptLogprobs {
  readonly new: readonly number[];
  readonly true: readonly number[] | null;
}

export interface CaseLogprobs {
  readonly rewrite: PromptLogprobs;
  readonly paraphrase: PromptLogprobs;
  readonly neighborhood: PromptLogprobs;
}

/** One method on one fact; names as in `--json`. */
export interface MethodResult {
  readonly update_norm: number;
  readonly normalised_update: number;
  readonly relative_update: number;
  readonly divisor: number;
  readonly cosine: number;
  readonly verdict: Verdict;
  readonly metrics?: CaseMetrics;
  readonly logprobs?: CaseLogprobs;
  readonly texts?: readonly string[];
  readonly GE?: number;
  readonly entropy?: number;
  readonly RS?: number;
}

export interface CaseResult {
  readonly case_id: number;
  readonly prompt: string;
  readonly subject: string;
  readonly target_new: string;
  readonly target_true: string | null;
  readonly target_tokens: number;
  /** Of each optimisation step. */
  readonly loss: readonly number[];
  readonly before?: { readonly metrics: CaseMetrics; readonly logprobs: CaseLogprobs };
  readonly methods: Readonly<Partial<Record<Method, MethodResult>>>;
}

/** @throws UsageError naming the first fact that the model cannot hold, before any of them is edited */
export async function evaluate(
  model: Model,
  facts: readonly Fact[],
  options: EvaluateOptions,
): Promise<CaseResult[]> {
  checkFacts(model, facts, options.edit.contexts);
  const results: CaseResult[] = [];
  for (const fact of facts) {
    options.signal?.throwIfAborted();
    const result = await evaluateFact(model, fact, options);
    results.push(result);
    options.onCase?.(result, results.length, facts.length);
  }
  return results;
}

/** Tokenises every fact in every context, so that one that does not fit is named before hours of work. */
export function checkFacts(model: Model, facts: readonly Fact[], contexts: readonly string[]): void {
  for (const fact of facts) editRows(model.tokenizer, requestOf(fact), contexts, model.dims.context);
}

export function requestOf({ prompt, subject, targetNew }: Fact): {
  prompt: string;
  subject: string;
  target: string;
} {
  return { prompt, subject, target: targetNew };
}

async function evaluateFact(model: Model, fact: Fact, options: EvaluateOptions): Promise<CaseResult> {
  const { methods, measure = true, signal } = options;
  const edit = await computeEdit(model, requestOf(fact), {
    ...options.edit,
    methods,
    ...(signal ? { signal } : {}),
  });
  const [before] = measure ? await scoreFacts(model, [fact]) : [];
  const found: Partial<Record<Method, MethodResult>> = {};
  for (const method of methods) {
    const update = edit.updates.get(method) as Update;
    found[method] = before
      ? await withUpdate(model, update, () => measureEdited(model, fact, before, update, options))
      : judged(update, options.thresholds);
  }
  return { ...describe(fact, edit), ...(before ? { before: numbers(before) } : {}), methods: found };
}

async function measureEdited(
  model: Model,
  fact: Fact,
  before: FactScores,
  update: Update,
  { thresholds, textTokens = 100, seed, references, signal }: EvaluateOptions,
): Promise<MethodResult> {
  const [after] = await scoreFacts(model, [fact]);
  const texts =
    textTokens > 0 && fact.generationPrompts.length > 0
      ? await writeTexts(model, fact.generationPrompts, {
          tokens: textTokens,
          seed,
          ...(signal ? { signal } : {}),
        })
      : [];
  const RS = references && consistency(texts ?? [], references.of(fact), references.idf);
  return {
    ...judged(update, thresholds),
    ...numbers(after as FactScores, before),
    ...(measureTexts(texts) ?? {}),
    ...(texts && texts.length > 0 ? { texts } : {}),
    ...(RS === undefined ? {} : { RS }),
  };
}

function judged(update: Update, thresholds = THRESHOLDS): MethodResult {
  const { updateNorm, normalisedUpdate, relativeUpdate, divisor, cosine } = update;
  return {
    update_norm: updateNorm,
    normalised_update: normalisedUpdate,
    relative_update: relativeUpdate,
    divisor,
    cosine,
    verdict: judge(cosine, relativeUpdate, thresholds),
  };
}

function numbers(scores: FactScores, before?: FactScores): { metrics: CaseMetrics; logprobs: CaseLogprobs } {
  const list = (prompts: readonly Rivals[]): PromptLogprobs => ({
    new: prompts.map((rivals) => -rivals.new.nll),
    true: prompts.some((rivals) => rivals.true === null)
      ? null
      : prompts.map((rivals) => -(rivals.true?.nll ?? NaN)),
  });
  const { rewrite, paraphrase, neighborhood } = scores;
  return {
    metrics: caseMetrics(scores, before),
    logprobs: { rewrite: list([rewrite]), paraphrase: list(paraphrase), neighborhood: list(neighborhood) },
  };
}

function describe(fact: Fact, edit: Edit): Omit<CaseResult, 'methods' | 'before'> {
  return {
    case_id: fact.caseId,
    prompt: fact.prompt,
    subject: fact.subject,
    target_new: fact.targetNew,
    target_true: fact.targetTrue,
    target_tokens: edit.rows.targetIds.length,
    loss: edit.trace.map(({ loss }) => loss),
  };
}
