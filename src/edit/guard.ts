/**
 * Judges an edit: whether the model is still whole with it, and whether it did what it was made for.
 *
 * The verdict comes before an edit is kept. Two measures without a scale, so that they mean the same in any model:
 *
 *   cosine           k · u / (|k| |u|): near zero, the update must be huge to have any effect on k
 *   relative update  |u Λᵀ| / |W|
 *
 * An ordinary edit has a cosine of 0.3 to 0.7 and, on an unedited model, a relative update below 1; the disabling
 * edits of the paper lie more than an order of magnitude beyond. The thresholds sit in that gap.
 */
import type { Prediction } from '../models/predict.ts';

export const VERDICTS = ['ok', 'suspect', 'disabling'] as const;
export type Verdict = (typeof VERDICTS)[number];

export interface Thresholds {
  readonly suspectCosine: number;
  readonly disablingCosine: number;
  readonly suspectUpdate: number;
  readonly disablingUpdate: number;
}

export const THRESHOLDS: Thresholds = {
  suspectCosine: 0.15,
  disablingCosine: 0.05,
  suspectUpdate: 4,
  disablingUpdate: 10,
};

/**
 * A batch of so many facts, as if each were an edit of its own: changes that do not align add up to √n times the norm of
 * one. Its keys share no divisor, so there is no cosine to look at.
 */
export function judgeBatch(relativeUpdate: number, facts: number, t?: Thresholds): Verdict {
  return judge(Infinity, relativeUpdate / Math.sqrt(facts), t);
}

export function judge(cosine: number, relativeUpdate: number, t: Thresholds = THRESHOLDS): Verdict {
  const c = Math.abs(cosine);
  // Written so that NaN, which compares false with everything, is disabling.
  if (!(c >= t.disablingCosine && relativeUpdate <= t.disablingUpdate)) return 'disabling';
  return c < t.suspectCosine || relativeUpdate > t.suspectUpdate ? 'suspect' : 'ok';
}

/** Whether an edit did what it was made for, read off the bare prompt. */
export type Success = 'took' | 'partly' | 'missed';

/** What the model makes of the target, and of the object that is true without the edit where that is known. */
export interface TargetState {
  readonly target: Pick<Prediction, 'continuationLogprob' | 'continuationFirst'>;
  /** ln p per token of the true object. */
  readonly trueLogprob?: number | undefined;
}

/** The target counts as risen when its probability grew by this factor. */
const RISE = 10;

/**
 * `took`: every token of the target is the arg-max. `partly`: it is not, but its probability rose above that of the true
 * object, or ten-fold. `missed`: neither.
 *
 * @param tokens of the target: log-probabilities are per token
 */
export function judgeSuccess(before: TargetState, after: TargetState, tokens: number): Success {
  if (after.target.continuationFirst) return 'took';
  const rise = (after.target.continuationLogprob - before.target.continuationLogprob) * tokens;
  const isAbove = ({ target, trueLogprob }: TargetState): boolean =>
    trueLogprob !== undefined && target.continuationLogprob > trueLogprob;
  return rise >= Math.log(RISE) || (isAbove(after) && !isAbove(before)) ? 'partly' : 'missed';
}
