/**
 * Losses on logits: the negative log-likelihood of targets, and the drift of a distribution from a stored one.
 * All of them take log-probabilities from one `logsumexp` of the logits.
 */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** ln Σ_v exp(x_v) of each row as two addends, the row's maximum and the rest: [R, V] to [R, 2]. */
export function logsumexp(s: Scope, logits: Tensor): Tensor {
  const [rows, v] = [logits.rows, logits.cols];
  const y = empty(s, [rows, 2], 'logsumexp');
  const cost = { flops: 4 * logits.size, bytes: 4 * logits.size, shape: `${rows}x${v}` };
  s.gpu.run('models/logsumexp', { logits, y }, { rows, v }, { groups: rows, cost });
  return y;
}

/**
 * −ln p(target_r) for the first rows of the logits, as many as there are targets.
 *
 * @param targets u32 [n], each below V, n ≤ R
 * @returns       [n]
 * @throws ShapeError when there are more targets than rows
 */
export function nll(s: Scope, logits: Tensor, targets: Tensor, lse = logsumexp(s, logits)): Tensor {
  const rows = targets.size;
  if (rows > logits.rows) throw new ShapeError(`nll: ${rows} targets for ${logits.rows} rows of logits.`);
  const y = empty(s, [rows], 'nll');
  const bindings = { logits, logsumexp: lse, targets, y };
  s.gpu.run('models/nll', bindings, { rows, v: logits.cols }, { threads: rows });
  return y;
}

/** ln p of one row of the logits, [V]; written to `out` where one is given. */
export function logSoftmaxRow(
  s: Scope,
  logits: Tensor,
  row: number,
  lse = logsumexp(s, logits),
  out = empty(s, [logits.cols], 'log_p'),
): Tensor {
  const v = logits.cols;
  s.gpu.run('models/log_softmax', { logits, logsumexp: lse, y: out }, { v, row }, { threads: v });
  return out;
}

/** factor · KL(p || p0) of one row of the logits against stored ln p0 [V], as [1]. */
export function klDivergence(
  s: Scope,
  logits: Tensor,
  row: number,
  logP0: Tensor,
  factor: number,
  lse = logsumexp(s, logits),
): Tensor {
  const y = empty(s, [1], 'kl');
  const bindings = { logits, logsumexp: lse, log_p0: logP0, y };
  s.gpu.run('models/kl_divergence', bindings, { v: logits.cols, row, factor }, { groups: [1] });
  return y;
}

/** d(weight · Σ nll + kl)/dlogits, [R, V]: rows beyond the targets, at most one, are the KL's. */
export function lossGradient(
  s: Scope,
  logits: Tensor,
  targets: Tensor,
  lse: Tensor,
  weight: number,
  drift?: { readonly logP0: Tensor; readonly kl: Tensor; readonly klFactor: number },
): Tensor {
  const [rows, v] = [logits.rows, logits.cols];
  if (rows !== targets.size + (drift ? 1 : 0))
    throw new ShapeError(`lossGradient: ${rows} rows of logits, ${targets.size} targets.`);
  const dlogits = empty(s, logits.shape, `d ${logits.label}`);
  const { logP0 = logits, kl = lse, klFactor = 0 } = drift ?? {};
  s.gpu.run(
    'models/loss_gradient',
    { logits, logsumexp: lse, targets, log_p0: logP0, kl, dlogits },
    { rows, v, targets: targets.size, weight, factor: klFactor },
    { threads: [v, rows], cost: { flops: 4 * logits.size, bytes: 8 * logits.size } },
  );
  return dlogits;
}
