/**
 * One edit after another on the same weights, each judged before it is kept, and all of them asked again at the end.
 *
 * C and the contexts are those of the unedited model, as published. A run is replayed from u and Λ of every kept edit,
 * see `run-journal.ts`.
 */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { applyEdits, keepWeights } from '../edit/apply.ts';
import type { Edit, Update } from '../edit/edit.ts';
import { frobenius, frobeniusDifference } from '../edit/frobenius.ts';
import { updateNumbers } from '../edit/record.ts';
import { VERDICTS } from '../edit/guard.ts';
import { METHODS, type Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkFacts, editFacts, type Edited, type RunOptions } from './evaluate.ts';
import { healthOf, type HealthNumbers, type HealthOptions } from './health.ts';
import { holds, logprobs, type Rivals } from './metrics.ts';
import { scoreRewrites } from './probes.ts';
import { NUMBER, RUN_HEAD, type Entries, type RunJournal } from './run-journal.ts';

export interface SequenceOptions extends HealthOptions, RunOptions {
  readonly method: Method;
  /** `refuse`: a disabling edit is computed, told of, and not kept. */
  readonly onCollapse: 'warn' | 'refuse';
  /** Called with an edit that is kept, before its line is written; `number` from 1. */
  readonly onKept?: (kept: { number: number; edit: Edit; update: Update }) => Promise<void>;
  readonly onLine?: (line: SequenceLine, total: number) => void;
}

const HEAD = { ...RUN_HEAD, weight_norm: v.number(), elements: v.number() };

/** What of a run's files is relied on; a journal checks them with it. */
export const SEQUENCE_HEAD = v.looseObject({
  ...HEAD,
  before: v.looseObject({ perplexity: v.optional(v.nullable(v.number())) }),
});

export interface SequenceHead extends Entries<typeof HEAD> {
  /** The unedited model. */
  readonly before: HealthNumbers;
}

const LINE = {
  /** From 1. */
  edit: v.number(),
  case_id: v.number(),
  method: v.picklist(METHODS),
  prompt: v.string(),
  subject: v.string(),
  target_new: v.string(),
  ...{ divisor: NUMBER, cosine: NUMBER, lambda_norm: NUMBER, update_norm: NUMBER, normalised_update: NUMBER },
  relative_update: NUMBER,
  /** |W − W0| after this edit. */
  total_norm: NUMBER,
  /** Over the number of elements of W, as the paper's |Δ|. */
  normalised_total: NUMBER,
  /** Over the norm of W0; `relative_update` is over that of the W that the update is written to. */
  relative_total: NUMBER,
  /** Per token, on the weights as they are after this line; the true one null where the record names none. */
  target_logprob: NUMBER,
  true_logprob: v.nullable(v.number()),
  verdict: v.picklist(VERDICTS),
  kept: v.boolean(),
  /** The fact is as it was written, on the same weights: see `holds`. */
  took: v.boolean(),
};

export const SEQUENCE_LINE = v.looseObject(LINE);

/** A line of `run.jsonl`; numbers that are no longer finite are null there. */
export type SequenceLine = HealthNumbers & Entries<typeof LINE>;

/** Vectors of a line are [U, Λ] of rank 1, or none when the edit was not kept. */
export type SequenceJournal = RunJournal<SequenceHead, SequenceLine>;

/**
 * Runs the facts that the journal does not hold yet. Afterwards W is what it was before, bit for bit.
 *
 * @param settings stored in a new run's head
 * @returns all kept edits, those of the journal too, as they are after the last one
 * @throws UsageError naming the first fact that does not fit the model
 */
export async function runSequence(
  model: Model,
  facts: readonly Fact[],
  options: SequenceOptions,
  journal: SequenceJournal,
  settings: SequenceHead['settings'] = {},
) {
  const { gpu } = model;
  await checkFacts(model, facts, options.edit.contexts, options);
  const { layer } = options.edit;
  const w = model.editedWeight(layer).tensor;
  const weights = keepWeights(model, [layer]);
  const w0 = weights.before.get(layer) as Tensor;
  try {
    const health = healthOf(model, facts, options);
    const head = journal.head ?? {
      schema: 1,
      settings,
      weight_norm: await frobenius(gpu, w0),
      elements: w.size,
      before: await health.before(),
    };
    if (!journal.head) await journal.begin(head);
    for await (const [U, Lambda] of journal.vectors())
      if (U && Lambda) await applyEdits(model, [{ layer, U, Lambda, rank: 1 }]);
    for (const line of journal.lines) health.note(line.kept);
    const written = facts.flatMap((fact, i) => (journal.lines[i]?.kept ? [{ number: i + 1, fact }] : []));

    for (let number = journal.lines.length + 1; number <= facts.length; number += 1) {
      const fact = facts[number - 1] as Fact;
      const [edited] = await editFacts(model, [fact], [options.method], options);
      const { edit, updates } = edited as Edited;
      const update = updates[0] as Update;
      const keep = !(update.verdict === 'disabling' && options.onCollapse === 'refuse');
      if (keep) {
        await applyEdits(model, [update]);
        await options.onKept?.({ number, edit, update });
        written.push({ number, fact });
      }
      health.note(keep);
      const total = await frobeniusDifference(gpu, w, w0);
      const [rivals] = (await scoreRewrites(model, [fact])) as [Rivals];
      const line: SequenceLine = {
        edit: number,
        case_id: fact.caseId,
        method: options.method,
        prompt: fact.prompt,
        subject: fact.subject,
        target_new: fact.targetNew,
        ...updateNumbers(update),
        kept: keep,
        total_norm: total,
        normalised_total: total / head.elements,
        relative_total: total / head.weight_norm,
        took: holds(rivals),
        ...logprobs(rivals),
        ...(await health.after()),
      };
      await journal.append(line, keep ? [update.U, update.Lambda] : []);
      options.onLine?.(line, facts.length);
    }
    const kept = written.map(({ fact }) => fact);
    const ends = await scoreRewrites(model, kept);
    return written.map(({ number, fact }, i) => {
      const rivals = ends[i] as Rivals;
      return {
        edit: number,
        case_id: fact.caseId,
        subject: fact.subject,
        target_new: fact.targetNew,
        /** Against the true object, or by arg-max where the record names none. */
        by: rivals.true ? ('comparison' as const) : ('arg-max' as const),
        /** The fact is still as it was written. */
        holds: holds(rivals),
        ...logprobs(rivals),
      };
    });
  } finally {
    weights.revert();
  }
}

/** A kept edit at the end of its run. */
export type Survivor = Awaited<ReturnType<typeof runSequence>>[number];
