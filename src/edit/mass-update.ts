/** Many facts into one layer: U = A⁻¹Qᵀ (μI + Q A⁻¹ Qᵀ)⁻¹ S. */
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
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
  /** How well the equation was solved: |(A + QᵀQ/μ) U − QᵀS/μ| over the right side, and an estimate of the error of U. */
  readonly residual: number;
  readonly correction: number;
  readonly refinements: number;
  /** |K U − R| / |R|: what is left undone of what was asked. */
  readonly undone: number;
}

export type ComputeMassUpdate = (s: Scope, metric: Metric, request: MassRequest) => Promise<MassUpdate>;
