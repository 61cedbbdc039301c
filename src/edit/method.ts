/**
 * The three methods in one table. They share the target value v* and differ only in which key feeds what:
 *
 *   u = C⁻¹k_u / |C⁻¹k_u| ,   Λ = (v* − v) / (k · u) ,   W += u Λᵀ
 *
 * ROME mixes two keys in one equation: the mean over contexts makes u, the bare prompt makes k and v. Where the two
 * are far apart, k · u comes close to zero and Λ explodes: a disabling edit (Gupta et al. 2024, section 4).
 *
 * Source: kmeng01/rome `compute_u`, `compute_v`; scalable-model-editing/rebuilding-rome `compute_v.py`.
 */
export type Method = 'rome' | 'r-rome' | 'p-rome';

export const METHODS: readonly Method[] = ['r-rome', 'rome', 'p-rome'];

/** `mean`: of the keys over all contexts (the paper's k*). `prompt`: that of the bare prompt. */
export type Source = 'mean' | 'prompt';

export interface MethodRow {
  /** The key that u is solved from. */
  readonly u: Source;
  /** The key in the divisor k · u, and the value v = kW + b in the residual v* − v. */
  readonly residual: Source;
  readonly title: string;
}

export const METHOD_TABLE: Readonly<Record<Method, MethodRow>> = {
  rome: { u: 'mean', residual: 'prompt', title: 'ROME' },
  'p-rome': { u: 'prompt', residual: 'prompt', title: 'p-ROME' },
  'r-rome': { u: 'mean', residual: 'mean', title: 'r-ROME' },
};
