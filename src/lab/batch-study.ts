/**
 * Facts written batch after batch into the same weights, judged when their batch was written and all of them at the end:
 * the difference is what was forgotten. Under teacher forcing by the metrics of single edits, and by what the model writes
 * when nobody holds its hand; beside them what the model lost: perplexity, downstream tasks, how far W moved.
 *
 * Source: free generation as in WILD, arXiv 2502.11177, which finds most of teacher forcing's success gone without it.
 */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { keepWeights } from '../edit/apply.ts';
import { frobenius, frobeniusDifference } from '../edit/frobenius.ts';
import { spectralDifference } from '../edit/spectrum.ts';
import type { Model } from '../models/model.ts';
import { mean, norm } from '../statistics.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { writeBatches, type BatchOptions } from './fact-batches.ts';
import { healthOf, type HealthNumbers, type HealthOptions } from './health.ts';
import { caseMetrics, holds, logprobs, summarise, type CaseMetrics, type FactScores } from './metrics.ts';
import { scoreFacts, writeFreely } from './probes.ts';
import { FACTS_HEAD, type BatchLine, type Entries, type RunJournal } from './run-journal.ts';

export interface StudyOptions extends Omit<BatchOptions, 'measure'>, Omit<HealthOptions, 'ask'> {
  /** Tokens that are generated after each prompt and paraphrase; 0 for none. */
  readonly freeTokens: number;
}

/** A fact on the weights as they were when it was asked. */
export interface Judged {
  readonly case_id: number;
  readonly metrics: CaseMetrics;
  /** The new object beats the true one; without a true one it is the arg-max. */
  readonly holds: boolean;
  readonly target_logprob: number;
  readonly true_logprob: number | null;
  /** Share of freely written texts that name the new object, and not the true one before it. */
  readonly free: number | null;
}

/** In a line of the journal, under `measured`; what is due after so many facts only where it was. */
export interface Measured extends HealthNumbers {
  readonly layers: Awaited<ReturnType<typeof changes>>;
  readonly cases: readonly Judged[];
}

const HEAD = {
  ...FACTS_HEAD,
  /** |W₀| of all layers that are written, and the number of their elements. */
  weight_norm: v.number(),
  elements: v.number(),
};

/** What of a run's head is relied on. */
export const STUDY_HEAD = v.looseObject({
  ...HEAD,
  before: v.looseObject({
    cases: v.array(v.looseObject({ case_id: v.number(), holds: v.boolean() })),
  }),
});

export interface StudyHead extends Entries<typeof HEAD> {
  /** The unedited model. */
  readonly before: Measured;
}

export type Study = Awaited<ReturnType<typeof studyBatches>>;

/** Runs the batches that the journal does not hold yet. Afterwards W is what it was before, bit for bit. */
export async function studyBatches(
  model: Model,
  facts: readonly Fact[],
  layers: readonly number[],
  options: StudyOptions,
  journal: RunJournal<StudyHead, BatchLine>,
  { settings, anchor }: Pick<StudyHead, 'settings' | 'anchor'>,
) {
  const weights = keepWeights(model, layers);
  try {
    // Facts are asked once of the same weights.
    const asked = new Map<Fact, FactScores>();
    const ask = async (wanted: readonly Fact[]): Promise<FactScores[]> => {
      const open = wanted.filter((fact) => !asked.has(fact));
      (await scoreFacts(model, open)).forEach((scores, i) => asked.set(open[i] as Fact, scores));
      return wanted.map((fact) => asked.get(fact) as FactScores);
    };
    // Asked again after a resume: metrics of later lines compare with them.
    const first = await ask(facts);
    const unedited = new Map(facts.map((fact, i) => [fact.caseId, first[i]]));
    const judge = async (some: readonly Fact[]): Promise<Judged[]> => {
      const { freeTokens, signal } = options;
      const scores = await ask(some);
      const free = freeTokens > 0 ? await writeFreely(model, some, freeTokens, signal) : undefined;
      return some.map((fact, i) => {
        const own = scores[i] as FactScores;
        return {
          case_id: fact.caseId,
          metrics: caseMetrics(own, unedited.get(fact.caseId)),
          holds: holds(own.rewrite),
          ...logprobs(own.rewrite),
          free: free?.[i] ?? null,
        };
      });
    };
    const health = healthOf(model, facts, { ...options, ask });
    if (!journal.head) {
      const moves = await movesOf(model, weights.before);
      await journal.begin({
        schema: 1,
        settings,
        anchor,
        weight_norm: norm(moves.map(({ size }) => size)),
        elements: moves.reduce((sum, { w }) => sum + w.size, 0),
        before: {
          ...(await health.before()),
          layers: await changes(model, weights.before),
          cases: await judge(facts),
        },
      });
    }
    for (const { case_ids, kept } of journal.lines) health.note(...case_ids.map(() => kept));
    const measure = async (batch: readonly Fact[], kept: boolean): Promise<Measured> => {
      asked.clear();
      health.note(...batch.map(() => kept));
      return {
        cases: await judge(batch),
        layers: await changes(model, weights.before),
        ...(await health.after()),
      };
    };
    const there = journal.lines.length;
    const lines = await writeBatches(model, facts, { ...options, measure }, journal);
    if (lines.length === there) asked.clear(); // nothing was asked of these weights yet
    const last = lines.at(-1)?.measured as Measured;
    return {
      head: journal.head as StudyHead,
      lines,
      /** Of every fact whether its batch stayed in the model. */
      kept: lines.flatMap(({ case_ids, kept }) => case_ids.map(() => kept)),
      /** Every fact when its batch was written. */
      written: lines.flatMap(({ measured }) => (measured as Measured).cases),
      /** Every fact after the last batch, on one model. */
      end: { ...last, cases: await judge(facts) },
    };
  } finally {
    weights.revert();
  }
}

/** Batches as the reports of sequences have edits: by the number of facts after each. */
export function stepsOf({ head, lines }: Pick<Study, 'head' | 'lines'>) {
  let edit = 0;
  return lines.map(({ method, verdict, cosine, kept, case_ids, layers, measured }) => {
    const { cases: _, layers: moved, ...health } = measured as Measured;
    const update_norm = norm(layers.map((layer) => layer.update_norm));
    return {
      ...health,
      ...{ method, verdict, cosine, kept },
      edit: (edit += case_ids.length),
      facts: case_ids.length,
      /** Over all layers; over the number of their elements; the largest over |W| of its layer. */
      update_norm,
      normalised_update: update_norm / head.elements,
      relative_update: Math.max(...layers.map(({ relative_update }) => relative_update)),
      /** |W − W₀| / |W₀| over all layers. */
      relative_total: norm(moved.map(({ total_norm }) => total_norm)) / head.weight_norm,
    };
  });
}

/** Metrics over facts, and the mean of free generation in percent. */
export function summariseJudged(cases: readonly Judged[], seed: number) {
  const measures = cases.map(({ metrics }) => metrics);
  const free = mean(cases.flatMap((one) => one.free ?? []));
  return { ...summarise(measures, seed), ...(free !== undefined && { free: 100 * free }) };
}

/** Of each layer W, W₀ as it was before, |W − W₀| and |W₀|. */
export async function movesOf(model: Model, before: ReadonlyMap<number, Tensor>) {
  const list = [];
  for (const [layer, w0] of before) {
    const w = model.editedWeight(layer).tensor;
    const moved = await frobeniusDifference(model.gpu, w, w0);
    list.push({ layer, w, w0, moved, size: await frobenius(model.gpu, w0) });
  }
  return list;
}

/** |W − W₀|, Frobenius; over |W₀|; and the largest singular value. */
async function changes(model: Model, before: ReadonlyMap<number, Tensor>) {
  const list = [];
  for (const { layer, w, w0, moved, size } of await movesOf(model, before))
    list.push({
      layer,
      total_norm: moved,
      relative_total: moved / size,
      spectral_norm: moved > 0 ? await spectralDifference(model.gpu, w, w0) : 0,
    });
  return list;
}
