/**
 * Single edits over a data set: each fact is edited on the unedited model, measured, and taken back bit for bit.
 *
 * v* is optimised once a fact, whatever the methods, and that of several facts together, since no edit sees another; each
 * method's update is then measured for itself.
 */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { withUpdate } from '../edit/apply.ts';
import { computeEdits, searchedTogether, type EditSettings } from '../edit/edit.ts';
import { VERDICTS, judge, type Thresholds } from '../edit/guard.ts';
import { METHODS, type Method } from '../edit/method.ts';
import { updateNumbers, type UpdateNumbers } from '../edit/record.ts';
import type { EditRequest } from '../edit/request.ts';
import { editRows } from '../edit/rows.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { caseMetrics, type FactScores, type Rivals } from './metrics.ts';
import { checkProbes, promptRows, scoreFacts } from './probes.ts';
import type { Entries, RunJournal } from './run-journal.ts';
import { consistency, measureTexts, writeTexts, type References } from './texts.ts';

/** What every run of edits over facts takes. */
export interface RunOptions {
  readonly edit: EditSettings;
  readonly thresholds?: Thresholds | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface EvaluateOptions extends RunOptions {
  readonly methods: readonly Method[];
  readonly seed: number;
  /** false: edits are judged and not measured. Default true. */
  readonly measure?: boolean;
  /** Tokens of a text, prompt included; 0 for none. Default 100. */
  readonly textTokens?: number | undefined;
  /** Reference texts of a fact, and the weights of their terms: what consistency compares with. */
  readonly references?: References | undefined;
  /** Where cases go as they are finished, and those of an earlier part of the run. Absent: nothing outlives the run. */
  readonly journal?: Pick<RunJournal<unknown, CaseResult>, 'lines' | 'append'> | undefined;
  readonly onCase?: (result: CaseResult, done: number, total: number) => void;
}

/** What a model, edited or not, makes of a fact. */
export type Measured = ReturnType<typeof measured>;

export interface MethodResult extends UpdateNumbers, Partial<Measured> {
  readonly texts?: readonly string[];
  readonly GE?: number;
  readonly entropy?: number | undefined;
  readonly RS?: number | undefined;
}

const FACT = {
  case_id: v.number(),
  prompt: v.string(),
  subject: v.string(),
  target_new: v.string(),
  target_true: v.nullable(v.string()),
  /** Of each optimisation step. */
  loss: v.array(v.number()),
};

export interface CaseResult extends Entries<typeof FACT> {
  readonly target_tokens: number;
  readonly before?: Measured | undefined;
  readonly methods: Readonly<Partial<Record<Method, MethodResult>>>;
}

/** What of a case on the disk is relied on; a journal checks its lines with it. */
export const CASE = v.looseObject({
  ...FACT,
  before: v.optional(v.looseObject({ prompts: v.array(v.looseObject({})) })),
  methods: v.record(v.picklist(METHODS), v.looseObject({ verdict: v.picklist(VERDICTS) })),
});

/** @throws UsageError naming the first fact that the model cannot hold, before any of them is edited */
export async function evaluate(
  model: Model,
  facts: readonly Fact[],
  options: EvaluateOptions,
): Promise<CaseResult[]> {
  await checkFacts(model, facts, options.edit.contexts, options);
  const results: CaseResult[] = [...(options.journal?.lines ?? [])].slice(0, facts.length);
  for (const { first, group } of groupsOf(model, facts, options.edit)) {
    if (first + group.length <= results.length) continue;
    // A group that was begun is searched for as a whole again: so its numbers are those of an unbroken run.
    const edits = await editFacts(model, group, options.methods, options);
    for (const [i, fact] of group.entries()) {
      if (first + i < results.length) continue;
      options.signal?.throwIfAborted();
      const { edit, updates } = edits[i] as Edited;
      const [before] = options.measure === false ? [] : await scoreFacts(model, [fact]);
      const methods: Partial<Record<Method, MethodResult>> = {};
      for (const update of updates) {
        methods[update.method] = {
          ...updateNumbers(update),
          ...(before && (await withUpdate(model, update, () => measureEdited(model, fact, before, options)))),
        };
      }
      const result: CaseResult = {
        case_id: fact.caseId,
        prompt: fact.prompt,
        subject: fact.subject,
        target_new: fact.targetNew,
        target_true: fact.targetTrue,
        target_tokens: edit.rows.targetIds.length,
        loss: edit.trace.map(({ loss }) => loss),
        before: before && measured(model, fact, before),
        methods,
      };
      await options.journal?.append(result);
      results.push(result);
      options.onCase?.(result, results.length, facts.length);
    }
  }
  return results;
}

/** Facts that are tokenised in all their contexts at a time. */
const TOKENISED = 32;

/** The facts in groups whose values are searched for together: a kill costs one group. */
function* groupsOf(model: Model, facts: readonly Fact[], edit: EditSettings) {
  for (let from = 0; from < facts.length; from += TOKENISED) {
    const some = facts.slice(from, from + TOKENISED);
    for (const batch of searchedTogether(model, some.map(requestOf), edit))
      yield { first: from + (batch[0] ?? 0), group: batch.map((i) => some[i] as Fact) };
  }
}

/** Of many facts it takes long; now and then a signal must come through. */
const TURN_MS = 50;

/**
 * Tokenises every fact in every context, and all that will be asked of it, so that one that does not fit is named before
 * hours of work.
 *
 * @throws UsageError naming file and record
 */
export async function checkFacts(
  model: Model,
  facts: readonly Fact[],
  contexts: readonly string[],
  { measure = true, signal }: Pick<EvaluateOptions, 'measure' | 'signal'> = {},
): Promise<void> {
  let since = performance.now();
  for (const fact of facts) {
    try {
      editRows(model.tokenizer, requestOf(fact), contexts, model.dims);
      if (measure) checkProbes(model, fact);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(`${fact.where ?? `case ${fact.caseId}`}: ${error.message}`, error.code);
    }
    if (performance.now() - since < TURN_MS) continue;
    await new Promise<void>((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    since = performance.now();
  }
}

export type Edited = Awaited<ReturnType<typeof editFacts>>[number];

/** Computes the edit of each fact by itself on the model's current weights, by each method, judged by the run's thresholds. */
export async function editFacts(
  model: Model,
  facts: readonly Fact[],
  methods: readonly Method[],
  { edit: options, thresholds, signal }: RunOptions,
) {
  signal?.throwIfAborted();
  const edits = await computeEdits(model, facts.map(requestOf), { ...options, methods, signal });
  return edits.map((edit) => ({
    edit,
    updates: [...edit.updates.values()].map((update) => ({
      ...update,
      verdict: judge(update.cosine, update.relativeUpdate, thresholds),
    })),
  }));
}

export function requestOf({ prompt, subject, targetNew }: Fact): EditRequest {
  return { prompt, subject, target: targetNew };
}

async function measureEdited(
  model: Model,
  fact: Fact,
  before: FactScores,
  { textTokens: tokens = 100, seed, references, signal }: EvaluateOptions,
): Promise<Partial<MethodResult>> {
  const [after] = await scoreFacts(model, [fact]);
  const prompts = tokens > 0 ? fact.generationPrompts : [];
  const texts = await writeTexts(model, prompts, { tokens, seed, signal });
  return {
    ...measured(model, fact, after as FactScores, before),
    ...measureTexts(texts),
    ...(texts && texts.length > 0 && { texts }),
    RS: references && consistency(texts ?? [], references.of(fact), references.idf),
  };
}

function measured(model: Model, fact: Fact, scores: FactScores, before?: FactScores) {
  /** Log-probabilities per token of both objects, prompt by prompt; the true ones null where there is none. */
  const list = (prompts: readonly Rivals[]) => {
    const old = prompts.flatMap((rivals) => (rivals.true ? [-rivals.true.nll] : []));
    return {
      new: prompts.map((rivals) => -rivals.new.nll),
      true: old.length === prompts.length ? old : null,
    };
  };
  const { rewrite, paraphrase, neighborhood } = scores;
  return {
    metrics: caseMetrics(scores, before),
    logprobs: { rewrite: list([rewrite]), paraphrase: list(paraphrase), neighborhood: list(neighborhood) },
    prompts: promptRows(model, fact, scores),
  };
}
