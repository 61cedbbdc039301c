/**
 * The edit: Λ = (v* − v) / (k · u), then W += u Λᵀ, stored [F, D] or [D, F] as the architecture has it.
 */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { EditedWeight } from '../models/architecture.ts';
import { narrow, widen } from '../tensor/elementwise.ts';
import { transpose } from '../tensor/gather.ts';
import { matmul } from '../tensor/matmul.ts';
import { type Tensor, empty, isHalf, read, windows } from '../tensor/tensor.ts';

/** What says whether an edit is sound. */
export interface LambdaStats {
  /** k · u */
  readonly divisor: number;
  /** k · u / (|k| |u|) */
  readonly cosine: number;
  /** |Λ|; also the Frobenius norm of the update where |u| = 1. */
  readonly lambdaNorm: number;
}

/**
 * @param vStar  [D] the value wanted
 * @param value  [D] the value that the key has now, bias included in both
 * @param key    [F]
 * @param u      [F] of unit length
 * @returns      lambda [D], and stats [3] for `readLambdaStats`
 * @see Meng et al. 2022, eq. 2
 */
export function solveLambda(
  s: Scope,
  { vStar, value, key, u }: { vStar: Tensor; value: Tensor; key: Tensor; u: Tensor },
): { lambda: Tensor; stats: Tensor } {
  if (vStar.size !== value.size || key.size !== u.size) {
    throw new ShapeError(`lambda: v* ${vStar.size} and v ${value.size}, key ${key.size} and u ${u.size}.`);
  }
  const lambda = empty(s, [vStar.size], 'lambda');
  const stats = empty(s, [3], 'lambda_stats');
  const params = { f: key.size, d: vStar.size, zero: 0 };
  s.gpu.run('edit/lambda', { v_star: vStar, v: value, key, u, lambda, stats }, params, { groups: [1] });
  return { lambda, stats };
}

export async function readLambdaStats(gpu: Gpu, stats: Tensor): Promise<LambdaStats> {
  const [divisor = NaN, cosine = NaN, lambdaNorm = NaN] = await read(gpu, stats);
  return { divisor, cosine, lambdaNorm };
}

/** A change of one layer's W by U Λ: one edit, or several, of rank `rank` at most. */
export interface LowRankUpdate {
  readonly layer: number;
  /** [F, rank], row by row */
  readonly U: Float32Array<ArrayBuffer>;
  /** [rank, D] */
  readonly Lambda: Float32Array<ArrayBuffer>;
  readonly rank: number;
}

/** Several changes of one W as one, rank behind rank. @param updates one at least */
export function joined(updates: readonly LowRankUpdate[]): LowRankUpdate {
  const [{ layer, ...first }] = updates as readonly [LowRankUpdate];
  const [F, D] = [first.U.length / first.rank, first.Lambda.length / first.rank];
  const rank = updates.reduce((sum, one) => sum + one.rank, 0);
  const [U, Lambda] = [new Float32Array(F * rank), new Float32Array(rank * D)];
  let from = 0;
  for (const one of updates) {
    for (let f = 0; f < F; f += 1) U.set(one.U.subarray(f * one.rank, (f + 1) * one.rank), f * rank + from);
    Lambda.set(one.Lambda, from * D);
    from += one.rank;
  }
  return { layer, U, Lambda, rank };
}

/** So many ranks of a change, from the `first` on: what `joined` did, undone. */
export function ranksOf(
  { layer, rank: all, ...whole }: LowRankUpdate,
  first: number,
  rank: number,
): LowRankUpdate {
  const [F, D] = [whole.U.length / all, whole.Lambda.length / all];
  const U = new Float32Array(F * rank);
  for (let f = 0; f < F; f += 1) U.set(whole.U.subarray(f * all + first, f * all + first + rank), f * rank);
  return { layer, U, Lambda: whole.Lambda.slice(first * D, (first + rank) * D), rank };
}

/**
 * W += U Λ, in place, for W as f32, f16 or bf16; in the layout `out-in` the transpose of U Λ is added. 16 bits are widened
 * and rounded once.
 *
 * @param U       [F, N], or [F] where N is 1
 * @param Lambda  [N, D], or [D]
 * @throws ShapeError where sizes differ
 */
export function lowRankUpdate(
  s: Scope,
  { tensor: w, layout }: Pick<EditedWeight, 'layout'> & { readonly tensor: Tensor },
  { U, Lambda, rank = 1 }: { readonly U: Tensor; readonly Lambda: Tensor; readonly rank?: number },
): void {
  const isTurned = layout === 'out-in';
  const [F, D] = isTurned ? [w.cols, w.rows] : [w.rows, w.cols];
  if (U.size !== F * rank || Lambda.size !== rank * D) {
    throw new ShapeError(
      `lowRankUpdate: W [${w.shape.join(', ')}] ${w.dtype} ${layout}, U [${U.size}] and Lambda [${Lambda.size}] of rank ${rank}.`,
    );
  }
  const [left, right] = isTurned ? [Lambda, U] : [U, Lambda];
  const leftRows = isTurned && rank > 1 ? transpose(s, Lambda.reshape(rank, D)) : left.reshape(w.rows, rank);
  for (const [from, to] of windows(s.gpu, w.rows, 4 * w.cols)) {
    const part = w.slice(from, to);
    const { dtype } = part;
    const sum = isHalf(dtype) ? empty(s, part.shape, 'wide') : part;
    if (isHalf(dtype)) widen(s, part, sum, dtype);
    if (rank === 1) {
      const cost = { flops: 2 * part.size, bytes: 8 * part.size };
      const params = { first: from, rows: to - from, d: w.cols };
      s.gpu.run('edit/rank_one_update', { u: left, lambda: right, w: sum }, params, {
        threads: part.size,
        cost,
      });
    } else {
      const b = isTurned ? U.reshape(F, rank) : Lambda.reshape(rank, D);
      matmul(s, leftRows.slice(from, to), b, { out: sum, accumulate: true, transposeB: isTurned });
    }
    if (sum !== part) {
      narrow(s, sum, part);
      s.release(sum);
    }
  }
}
