/** What an evaluation reads off logits: the likelihood of given targets, and the token that comes first. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { logsumexp } from './losses.ts';

/**
 * −ln p(target_i) in row rows_i of the logits; a row may be named any number of times.
 *
 * @param logits  [R, V]
 * @param rows    u32 [n], each below R
 * @param targets u32 [n], each below V
 * @returns       [n]
 * @throws ShapeError when rows and targets differ in number
 */
export function nllAt(
  s: Scope,
  logits: Tensor,
  rows: Tensor,
  targets: Tensor,
  lse = logsumexp(s, logits),
): Tensor {
  const n = targets.size;
  if (rows.size !== n) throw new ShapeError(`nllAt: ${rows.size} rows for ${n} targets.`);
  const y = empty(s, [n], 'nll');
  const bindings = { logits, logsumexp: lse, rows, targets, y };
  s.gpu.run('models/nll_at', bindings, { n, v: logits.cols }, { threads: n });
  return y;
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
