/**
 * Many facts into one layer: U = A⁻¹Qᵀ (μI + Q A⁻¹ Qᵀ)⁻¹ S with Q = [P; K], S = [0; R]. Never an F x F system: with
 * A⁻¹ = HᵀH,
 *
 *   Y = Q Hᵀ                    every key through the factor of A, which is made once        metric.ts
 *   G = μI + Y Yᵀ = L Lᵀ        order M + N                                                   cholesky.ts
 *   T = G⁻¹ S                   two triangular solves                                         triangular.ts
 *   U = (Tᵀ Y H)ᵀ               back through the factor
 *
 * U has rank N at most: for N ≤ D facts U = u R, u [F, N] what the identity in place of R gives, and edit files hold u and
 * R; else U itself and the identity. So r = min(N, D) columns go back through the factor and not N. Everything lies in
 * rows: Tᵀ [r, M + N], Uᵀ [r, F].
 *
 * What float32 leaves over is taken care of in mass-system.ts.
 *
 * Source: Woodbury's identity in the closed forms that method.ts names; Golub and Van Loan 2013, 2.1.4.
 */
import { EditRefused, ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { norm } from '../statistics.ts';
import { matmul } from '../tensor/matmul.ts';
import { type Tensor, read, upload } from '../tensor/tensor.ts';
import { openSystem, solveSystem } from './mass-system.ts';
import { METHOD_TABLE } from './method.ts';
import type { Metric } from './metric.ts';

/** What is to be written. */
export interface MassRequest {
  /** [N, F] keys, and [N, D] what their values lack. */
  readonly K: Tensor;
  readonly R: Tensor;
  /** [M, F] keys of earlier facts. */
  readonly past?: Tensor | undefined;
}

/** W += U Λ of rank r = min(N, D): Λ is R, or the identity where there are more facts than D. */
export interface MassUpdate {
  /** [F, r] and [r, D], as `lowRankUpdate` and edit files take them. */
  readonly U: Tensor;
  readonly Lambda: Tensor;
  readonly rank: number;
  /** |E₁| / |QᵀT|, and the last correction over |U|: an estimate of the error of U. */
  readonly residual: number;
  readonly correction: number;
  readonly refinements: number;
  /** |K U − R| / |R|: the part of what was asked that μ leaves undone. */
  readonly undone: number;
}

/**
 * The update of one layer; the results belong to `s`.
 *
 * @throws EditRefused when K or R is not finite, or the equations cannot be solved to 1e-3
 */
export async function massUpdate(s: Scope, metric: Metric, request: MassRequest): Promise<MassUpdate> {
  const { K, R, past } = request;
  const { gpu } = s;
  const [N, M, F, D] = [K.rows, past?.rows ?? 0, K.cols, R.cols];
  if (F !== metric.size || R.rows !== N || (past && past.cols !== F))
    throw new ShapeError(
      `massUpdate: K [${K.shape.join(', ')}], R [${R.shape.join(', ')}], past [${past?.shape.join(', ') ?? ''}] and a metric of order ${metric.size}.`,
    );
  const rank = Math.min(N, D);
  return gpu.scope(async (inner) => {
    const mu = METHOD_TABLE[metric.method].mu(metric.options, N);
    const system = await openSystem(inner, metric, mu, request);
    // Sᵀ [r, n]: R behind the zeros of past keys, or the identity
    const S = new Float32Array(rank * system.n);
    const values = await read(gpu, R);
    if (!values.every(Number.isFinite) || !(norm(values) > 0))
      throw new EditRefused(
        'mass update: the residuals R are zero or not finite: there is nothing to write.',
        'key_degenerate',
      );
    const right = (i: number, fact: number): number =>
      rank === N ? Number(i === fact) : (values[fact * D + i] as number);
    for (let i = 0; i < rank; i += 1)
      for (let fact = 0; fact < N; fact += 1) S[i * system.n + M + fact] = right(i, fact);
    const solved = await solveSystem(inner, system, S, rank);

    const lambda = rank === N ? values : identity(D);
    const U = upload(s, transposed(solved.x, F), [F, rank], 'U');
    const Lambda = upload(s, lambda, [rank, D], 'Lambda');
    // R − K U = μ T, and T is known better than the difference
    const left = upload(inner, transposed(solved.t, system.n), [system.n, rank], 'left');
    const undone = (await read(gpu, matmul(inner, left, Lambda))).subarray(M * D, (M + N) * D);
    const { residual, correction, refinements } = solved;
    return { U, Lambda, rank, residual, correction, refinements, undone: (mu * norm(undone)) / norm(values) };
  });
}

/** Rows [r, cols] as float32 [cols, r]. */
function transposed(rows: readonly Float64Array[], cols: number): Float32Array<ArrayBuffer> {
  const r = rows.length;
  const all = new Float32Array(r * cols);
  rows.forEach((row, i) => {
    for (let k = 0; k < cols; k += 1) all[k * r + i] = row[k] as number;
  });
  return all;
}

function identity(d: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: d * d }, (_, e) => Number(e % (d + 1) === 0));
}
