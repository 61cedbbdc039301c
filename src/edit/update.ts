/**
 * The edit: Λ = (v* − v) / (k · u), then W += u Λᵀ, stored [F, D] or [D, F] as the architecture has it.
 */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { EditedWeight } from '../models/architecture.ts';
import { matmul } from '../tensor/matmul.ts';
import { bytesOf, empty, halfCode, isHalf, read, windows } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** What says whether an edit is sound. */
export interface LambdaStats {
  /** k · u */
  readonly divisor: number;
  /** k · u / (|k| |u|) */
  readonly cosine: number;
  readonly keyNorm: number;
  readonly uNorm: number;
  /** |v* − v| */
  readonly residualNorm: number;
  /** |Λ|; also the Frobenius norm of the update where |u| = 1. */
  readonly lambdaNorm: number;
}

/**
 * @param vStar  [D] the value wanted
 * @param value  [D] the value that the key has now, bias included in both
 * @param key    [F]
 * @param u      [F] of unit length
 * @returns      lambda [D], and stats [8] for `readLambdaStats`
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
  const stats = empty(s, [8], 'lambda_stats');
  const params = { f: key.size, d: vStar.size, zero: 0 };
  s.gpu.run('edit/lambda', { v_star: vStar, v: value, key, u, lambda, stats }, params, { groups: [1] });
  return { lambda, stats };
}

export async function readLambdaStats(gpu: Gpu, stats: Tensor): Promise<LambdaStats> {
  const all = await read(gpu, stats);
  const at = (i: number): number => all[i] ?? NaN;
  return {
    divisor: at(0),
    cosine: at(1),
    keyNorm: at(2),
    uNorm: at(3),
    residualNorm: at(4),
    lambdaNorm: at(5),
  };
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

/** Ranks above it are worth a product, where W is in f32. */
const PRODUCT_RANK = 16;

/**
 * W += U Λ, in place, for W as f32, f16 or bf16; in the layout `out-in` the transpose of U Λ is added.
 *
 * @param U       [F, N], or [F] where N is 1
 * @param Lambda  [N, D], or [D]
 * @throws ShapeError where sizes differ, or W has 16 bits and rows of odd length
 */
export function lowRankUpdate(
  s: Scope,
  { tensor: w, layout }: Pick<EditedWeight, 'layout'> & { readonly tensor: Tensor },
  { U, Lambda, rank = 1 }: { readonly U: Tensor; readonly Lambda: Tensor; readonly rank?: number },
): void {
  const half = isHalf(w.dtype);
  const cols = w.cols;
  const [F, D] = layout === 'in-out' ? [w.rows, cols] : [cols, w.rows];
  if (U.size !== F * rank || Lambda.size !== rank * D || (half && cols % 2 === 1)) {
    throw new ShapeError(
      `lowRankUpdate: W [${w.shape.join(', ')}] ${w.dtype} ${layout}, U [${U.size}] and Lambda [${Lambda.size}] of rank ${rank}.`,
    );
  }
  if (rank > PRODUCT_RANK && !half) {
    addProduct(s, w, layout, { U: U.reshape(F, rank), Lambda: Lambda.reshape(rank, D) });
    return;
  }
  const [left, right] = layout === 'in-out' ? [U, Lambda] : [Lambda, U];
  const strides =
    layout === 'in-out'
      ? { left_row: rank, left_rank: 1, right_rank: D, right_col: 1 }
      : { left_row: 1, left_rank: D, right_rank: 1, right_col: rank };
  for (const [from, to] of windows(s.gpu, w.rows, cols * bytesOf(w.dtype))) {
    const [rows, size] = [to - from, (to - from) * cols];
    const part = w.slice(from, to);
    const cost = { flops: 2 * rank * size, bytes: 2 * part.bytes };
    if (rank === 1 && !half) {
      const bind = { u: left, lambda: right, w: part };
      s.gpu.run('edit/rank_one_update', bind, { first: from, rows, d: cols }, { threads: size, cost });
    } else {
      const params = { first: from, rows, cols, rank, ...strides };
      const grid = { threads: half ? size / 2 : size, overrides: { HALF: halfCode(w.dtype) }, cost };
      s.gpu.run('edit/low_rank_update', { left, right, w: part }, params, grid);
    }
  }
}

/** W += U Λ, or its transpose, by matrix products. */
function addProduct(
  s: Scope,
  w: Tensor,
  layout: EditedWeight['layout'],
  { U, Lambda }: { readonly U: Tensor; readonly Lambda: Tensor },
): void {
  const { rows: rank, cols: D } = Lambda;
  const transposeB = layout === 'out-in';
  let left = U;
  if (transposeB) {
    left = empty(s, [D, rank], 'lambda_transposed');
    s.gpu.run(
      'tensor/transpose',
      { x: Lambda, y: left },
      { rows: rank, cols: D, factor: 1 },
      { threads: left.size },
    );
  }
  for (const [from, to] of windows(s.gpu, w.rows, w.cols * 4))
    matmul(s, left.slice(from, to), transposeB ? U : Lambda, {
      out: w.slice(from, to),
      accumulate: true,
      transposeB,
    });
}
