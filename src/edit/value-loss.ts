/** The loss that v* is optimised for, but for the weight decay: it does not pass through the model. */
import { ShapeError } from '../errors.ts';
import { klDivergence, logSoftmaxRow, logsumexp, lossGradient, nll } from '../models/losses.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

export interface ValueLossOptions {
  /** This pass defines p0: it writes logP0, and its KL and the gradient of it are exactly 0. */
  readonly first: boolean;
  readonly klFactor: number;
}

export interface ValueLoss {
  /** [R − 1] */
  readonly nll: Tensor;
  /** [1], klFactor included */
  readonly kl: Tensor;
  /** Where the whole loss, mean(nll) + kl, stands on the tape: what `backward` is asked about. It is never summed up. */
  readonly whole: Tensor;
}

/**
 * mean(nll) over all rows but the last, plus klFactor · KL(p || p0) of the last.
 *
 * @param logits  [R, V]
 * @param targets u32 [R − 1]
 * @param logP0   [V] ln p of the last row in the first pass
 * @throws ShapeError when targets or logP0 do not fit the logits
 */
export function valueLoss(
  s: Scope,
  logits: Tensor,
  targets: Tensor,
  logP0: Tensor,
  { first, klFactor }: ValueLossOptions,
): ValueLoss {
  const last = logits.rows - 1;
  if (targets.size !== last || logP0.size !== logits.cols)
    throw new ShapeError(
      `valueLoss: logits [${logits.rows}, ${logits.cols}], ${targets.size} targets, ln p0 [${logP0.size}].`,
    );
  const lse = logsumexp(s, logits);
  if (first) logSoftmaxRow(s, logits, last, lse, logP0);
  const losses = nll(s, logits, targets, lse);
  const kl = klDivergence(s, logits, last, logP0, klFactor, lse);
  const drift = { logP0, kl, klFactor };
  s.tape?.record(losses, [logits], (scope) => [lossGradient(scope, logits, targets, lse, 1 / last, drift)]);
  return { nll: losses, kl, whole: losses };
}
