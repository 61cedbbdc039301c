/**
 * What is read off logits: the negative log-likelihood of targets, the drift of a distribution from a stored one, and the
 * token that comes first. Losses take log-probabilities from one `logsumexp` of the logits.
 */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty } from '../tensor/tensor.ts';

/** ln Σ_v exp(x_v) of each row as two addends, the row's maximum and the rest: [R, V] to [R, 2]. */
export function logsumexp(s: Scope, logits: Tensor): Tensor {
  const [rows, v] = [logits.rows, logits.cols];
  const y = empty(s, [rows, 2], 'logsumexp');
  const cost = { flops: 4 * logits.size, bytes: 4 * logits.size, shape: `${rows}x${v}` };
  s.gpu.run('models/logsumexp', { logits, y }, { rows, v }, { groups: rows, cost });
  return y;
}

/**
 * −ln p(target_i) in row rows_i of the logits; a row may be named any number of times.
 *
 * @param logits  [R, V]
 * @param rows    u32 [n], each below R
 * @param targets u32 [n], each below V
 * @returns       [n]
 * @throws ShapeError when rows and targets differ in number
 */
export function nll(
  s: Scope,
  logits: Tensor,
  rows: Tensor,
  targets: Tensor,
  lse = logsumexp(s, logits),
): Tensor {
  const n = targets.size;
  if (rows.size !== n) throw new ShapeError(`nll: ${rows.size} rows for ${n} targets.`);
  const y = empty(s, [n], 'nll');
  const bindings = { logits, logsumexp: lse, rows, targets, y };
  s.gpu.run('models/nll', bindings, { n, v: logits.cols }, { threads: n });
  return y;
}

/** ln p of `count` rows of the logits from row `first` on, [count, V]; written to `out` where one is given. */
export function logSoftmaxRows(
  s: Scope,
  logits: Tensor,
  [first, count]: readonly [first: number, count: number],
  lse = logsumexp(s, logits),
  out = empty(s, [count, logits.cols], 'log_p'),
): Tensor {
  const v = logits.cols;
  const params = { n: count, v, first };
  s.gpu.run('models/log_softmax', { logits, logsumexp: lse, y: out }, params, { threads: count * v });
  return out;
}

/** What the last rows of the logits are held against: one row a request. */
export interface Drift {
  /** [n, V] stored ln p0 */
  readonly logP0: Tensor;
  /** u32 [a, 4]: of each such row, in order, the row of logP0, and three more that others read. */
  readonly requests: Tensor;
  readonly klFactor: number;
}

/** factor · KL(p || p0) of the rows of the logits from `first` on, [a]. */
export function klDivergence(
  s: Scope,
  logits: Tensor,
  first: number,
  { logP0, requests, klFactor: factor }: Drift,
  lse = logsumexp(s, logits),
): Tensor {
  const a = requests.rows;
  const y = empty(s, [a], 'kl');
  const bindings = { logits, logsumexp: lse, log_p0: logP0, requests, y };
  s.gpu.run('models/kl_divergence', bindings, { v: logits.cols, first, factor }, { groups: [a] });
  return y;
}

/**
 * d(Σ weight nll + Σ kl)/dlogits, [R, V]: rows beyond the targets are the KL's, one a request.
 *
 * @param weights [n] of the targets
 */
export function lossGradient(
  s: Scope,
  logits: Tensor,
  targets: Tensor,
  lse: Tensor,
  weights: Tensor,
  drift?: Drift & { readonly kl: Tensor },
): Tensor {
  const [rows, v] = [logits.rows, logits.cols];
  if (rows !== targets.size + (drift?.requests.rows ?? 0) || weights.size !== targets.size)
    throw new ShapeError(
      `lossGradient: ${rows} rows of logits, ${targets.size} targets, ${weights.size} weights.`,
    );
  const dlogits = empty(s, logits.shape, `d ${logits.label}`);
  const {
    logP0 = logits,
    kl = lse,
    klFactor = 0,
    requests = empty(s, [1, 4], 'no requests', 'u32'),
  } = drift ?? {};
  s.gpu.run(
    'models/loss_gradient',
    { logits, logsumexp: lse, targets, weights, log_p0: logP0, kl, requests, dlogits },
    { rows, v, targets: targets.size, factor: klFactor },
    { threads: [v, rows], cost: { flops: 4 * logits.size, bytes: 8 * logits.size } },
  );
  return dlogits;
}

/** Stands for an id where a row of logits is damaged. */
export const NO_ID = 2 ** 32 - 1;

/**
 * The id of the largest logit in each row, the lowest among equals, `NO_ID` where one is NaN or the largest infinite:
 * [R, V] to u32 [R].
 */
export function argmaxRows(s: Scope, logits: Tensor): Tensor {
  const [rows, v] = [logits.rows, logits.cols];
  const { kind, subgroupSize } = s.gpu.adapter;
  // One subgroup a row on software adapters, which switch between the threads of larger groups at every barrier.
  const overrides = kind === 'software' && subgroupSize > 0 ? { WG: subgroupSize } : {};
  const y = empty(s, [rows], 'argmax', 'u32');
  const cost = { bytes: 4 * logits.size, shape: `${rows}x${v}` };
  s.gpu.run('models/argmax', { logits, y }, { rows, v }, { groups: rows, overrides, cost });
  return y;
}
