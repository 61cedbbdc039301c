/**
 * The edit: Λ = (v* − v) / (k · u), then W += u Λᵀ.
 *
 * GPT-2 stores c_proj.weight as [F, D], the transpose of the paper's W.
 */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty, windows } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { read } from '../tensor/tensor.ts';
import type { Gpu } from '../gpu/context.ts';

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

/**
 * W += u Λᵀ, in place; W [F, D] as f32 or f16.
 *
 * @throws ShapeError where sizes differ, or W is f16 with an odd D
 */
export function rankOneUpdate(s: Scope, w: Tensor, u: Tensor, lambda: Tensor): void {
  const d = w.cols;
  const half = w.dtype === 'f16';
  if (w.rows !== u.size || d !== lambda.size || (half && d % 2 === 1)) {
    throw new ShapeError(
      `rankOneUpdate: W [${w.shape.join(', ')}] ${w.dtype}, u [${u.size}], lambda [${lambda.size}].`,
    );
  }
  const name = half ? 'edit/rank_one_update_f16' : 'edit/rank_one_update';
  for (const [from, to] of windows(s.gpu, w.rows, d * (half ? 2 : 4))) {
    const size = (to - from) * d;
    const params = { first: from, rows: to - from, d };
    const grid = { threads: half ? size / 2 : size, cost: { flops: 2 * size, bytes: (half ? 4 : 8) * size } };
    s.gpu.run(name, { u, lambda, w: w.slice(from, to) }, params, grid);
  }
}
