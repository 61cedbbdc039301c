/**
 * Whether an edit did what it was made for, read off the bare prompt. The guard's verdict is another matter: it says
 * whether the model is still whole.
 */
import type { Prediction } from '../models/predict.ts';

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
