/**
 * One edit after another on the same weights, each judged before it is kept.
 *
 * C and the contexts are those of the unedited model, as published. A run is replayed, not saved: its journal holds u and
 * Λ of every kept edit, and adding them again in order gives the same W, bit for bit, so a run that was killed goes on
 * with the numbers that it would have had.
 */
import type { Fact } from '../data/fact.ts';
import { addUpdates } from '../edit/apply.ts';
import { computeEdit } from '../edit/edit.ts';
import type { EditOptions, Update } from '../edit/edit.ts';
import { frobenius, frobeniusDifference } from '../edit/frobenius.ts';
import { THRESHOLDS, judge } from '../edit/guard.ts';
import type { Thresholds, Verdict } from '../edit/guard.ts';
import type { Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import { copy } from '../tensor/tensor.ts';
import { checkFacts, requestOf } from './evaluate.ts';
import { Health } from './health.ts';
import type { HealthNumbers, HealthOptions } from './health.ts';
import { factPrompt } from './probes.ts';
import { continuation, score } from './score.ts';

export interface SequenceOptions extends HealthOptions {
  readonly method: Method;
  readonly edit: Omit<EditOptions, 'methods' | 'signal'>;
  /** `refuse`: a disabling edit is computed, told of, and not kept. */
  readonly onCollapse: 'warn' | 'refuse';
  readonly thresholds?: Thresholds;
  readonly onLine?: (line: SequenceLine, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A line of `run.jsonl`; numbers that are no longer finite are null there. */
export interface SequenceLine extends HealthNumbers {
  /** From 1. */
  readonly edit: number;
  readonly case_id: number;
  readonly method: Method;
  readonly prompt: string;
  readonly subject: string;
  readonly target_new: string;
  readonly update_norm: number;
  /** |W − W0| after this edit. */
  readonly total_norm: number;
  /** The norms over the number of elements of W: the paper's |Δ|. */
  readonly normalised_update: number;
  readonly normalised_total: number;
  /** The update's norm over that of the W it is written to, the total's over that of W0. */
  readonly relative_update: number;
  readonly relative_total: number;
  readonly divisor: number;
  readonly cosine: number;
  readonly verdict: Verdict;
  readonly kept: boolean;
  /** Per token, on the weights as they are after this line. */
  readonly target_logprob: number;
  readonly true_logprob: number | null;
}

/** What is written before the first edit. */
export interface SequenceHead {
  readonly schema: 1;
  /** What the run was started with; resuming with anything else is refused. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly weight_norm: number;
  readonly elements: number;
  /** The unedited model. */
  readonly before: HealthNumbers;
}

/** Where lines go: a run in a folder, or in memory. Vectors of a line are [u, Λ], or none when the edit was not kept. */
export interface SequenceJournal {
  readonly head: SequenceHead | undefined;
  readonly lines: readonly SequenceLine[];
  readonly vectors: () => AsyncIterable<readonly Float32Array<ArrayBuffer>[]>;
  readonly begin: (head: SequenceHead) => Promise<void>;
  readonly append: (line: SequenceLine, vectors?: readonly Float32Array<ArrayBuffer>[]) => Promise<void>;
}

/**
 * Runs the facts that the journal does not hold yet. Afterwards W is what it was before, bit for bit.
 *
 * @param settings stored in a new run's head
 * @throws UsageError naming the first fact that does not fit the model
 */
export async function runSequence(
  model: Model,
  facts: readonly Fact[],
  options: SequenceOptions,
  journal: SequenceJournal,
  settings: SequenceHead['settings'] = {},
): Promise<void> {
  const { gpu } = model;
  const { layer } = options.edit;
  const edited = model.editedWeight(layer);
  const w = edited.tensor;
  checkFacts(model, facts, options.edit.contexts);
  await gpu.scope(async (s) => {
    const w0 = copy(s, w, 'weight_before');
    const health = new Health(model, facts, options);
    try {
      const head = journal.head ?? {
        schema: 1,
        settings,
        weight_norm: await frobenius(gpu, w0),
        elements: w.size,
        before: await health.before(),
      };
      if (!journal.head) await journal.begin(head);
      for await (const [U, Lambda] of journal.vectors())
        if (U && Lambda) await addUpdates(gpu, edited, [{ layer, U, Lambda, rank: 1 }]);
      for (const line of journal.lines) health.note(line.kept);

      for (let i = journal.lines.length; i < facts.length; i += 1) {
        options.signal?.throwIfAborted();
        const fact = facts[i] as Fact;
        const { update, verdict } = await compute(model, fact, options);
        const kept = !(verdict === 'disabling' && options.onCollapse === 'refuse');
        if (kept) await addUpdates(gpu, edited, [update]);
        health.note(kept);
        const total = await frobeniusDifference(gpu, w, w0);
        const line: SequenceLine = {
          edit: i + 1,
          ...describe(fact, update, verdict, kept),
          total_norm: total,
          normalised_total: total / head.elements,
          relative_total: total / head.weight_norm,
          ...(await likelihood(model, fact)),
          ...(await health.after(i + 1)),
        };
        await journal.append(line, kept ? [update.U, update.Lambda] : []);
        options.onLine?.(line, facts.length);
      }
    } finally {
      gpu.copy(w0, w, Math.ceil(w.bytes / 4) * 4);
      gpu.flush(); // before the copy's memory is given away
    }
  });
}

async function compute(
  model: Model,
  fact: Fact,
  { edit, method, thresholds = THRESHOLDS, signal }: SequenceOptions,
): Promise<{ update: Update; verdict: Verdict }> {
  const { updates } = await computeEdit(model, requestOf(fact), {
    ...edit,
    methods: [method],
    ...(signal ? { signal } : {}),
  });
  const update = updates.get(method) as Update;
  return { update, verdict: judge(update.cosine, update.relativeUpdate, thresholds) };
}

function describe(fact: Fact, update: Update, verdict: Verdict, kept: boolean) {
  return {
    case_id: fact.caseId,
    method: update.method,
    prompt: fact.prompt,
    subject: fact.subject,
    target_new: fact.targetNew,
    update_norm: update.updateNorm,
    normalised_update: update.normalisedUpdate,
    relative_update: update.relativeUpdate,
    divisor: update.divisor,
    cosine: update.cosine,
    verdict,
    kept,
  };
}

async function likelihood(
  model: Model,
  fact: Fact,
): Promise<{ target_logprob: number; true_logprob: number | null }> {
  const targets = [fact.targetNew, ...(fact.targetTrue === null ? [] : [fact.targetTrue])];
  const scores = await score(
    model,
    targets.map((target) => continuation(model.tokenizer, factPrompt(fact), target)),
  );
  const [written, old] = scores.map(({ nll }) => -nll);
  return { target_logprob: written ?? NaN, true_logprob: old ?? null };
}

/** A journal that nothing outlives. */
export function memoryJournal(): SequenceJournal & { readonly lines: SequenceLine[] } {
  const lines: SequenceLine[] = [];
  const blocks: (readonly Float32Array<ArrayBuffer>[])[] = [];
  let head: SequenceHead | undefined;
  return {
    get head() {
      return head;
    },
    lines,
    vectors: async function* () {
      yield* blocks;
    },
    begin: (made) => {
      head = made;
      return Promise.resolve();
    },
    append: (line, vectors = []) => {
      lines.push(line);
      blocks.push(vectors);
      return Promise.resolve();
    },
  };
}
