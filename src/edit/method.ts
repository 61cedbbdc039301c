/**
 * Every method in one table. All of them are one formula. With keys K [N, F] and residuals R [N, D] of the facts to be
 * written, keys P [M, F] of facts written before that are to stay, Q = [P; K] and S = [0; R], W += U with
 *
 *   U = A⁻¹Qᵀ (μI + Q A⁻¹ Qᵀ)⁻¹ S
 *
 * A metric A says what a change of W costs, and μ how much of R may be left undone for a smaller change:
 *
 *   ROME, p-ROME, r-ROME   A = C               μ = 0      one fact: W += u Λᵀ, u ∝ C⁻¹k_u, Λ = (v* − v) / (k · u)
 *   MEMIT                  A = C               μ = λ      (λC + KᵀK)⁻¹KᵀR
 *   EMMET                  A = C               μ = wε     C'⁻¹Kᵀ (K C'⁻¹Kᵀ + εI)⁻¹R, C' = wC; μ = 0 for one fact
 *   ENCORE                 A = C + (λₙ/λ) I    μ = λ      (λC + λₙI + PᵀP + KᵀK)⁻¹KᵀR
 *   AlphaEdit              A⁻¹ = N             μ = L₂     (N(KᵀK + PᵀP) + L₂I)⁻¹N KᵀR, N the projector on the eigenvectors
 *                                                         of C below a threshold
 *
 * So EMMET is MEMIT with λ = wε, and MEMIT of one fact with λ → 0 is r-ROME. ROME itself mixes two keys in one equation:
 * the mean over contexts makes u, the bare prompt makes k and v. Where the two are far apart, k · u comes close to zero and
 * Λ explodes: a disabling edit (Gupta et al. 2024, section 4).
 *
 * Source: kmeng01/rome `compute_u`, `compute_v`; scalable-model-editing/rebuilding-rome `compute_v.py`; Meng et al. 2023,
 * eq. 14 (MEMIT); Gupta et al. 2024, arXiv 2403.14236 (EMMET); Gupta et al. 2025, arXiv 2502.01636 (ENCORE); Fang et
 * al. 2025, arXiv 2410.02355 (AlphaEdit).
 */

/** Methods for one fact. */
export type Method = 'rome' | 'r-rome' | 'p-rome';

/** Methods for any number of facts at once. */
export type MassMethod = 'memit' | 'emmet' | 'encore' | 'alphaedit';

export const METHODS: readonly Method[] = ['r-rome', 'rome', 'p-rome'];

export const MASS_METHODS: readonly MassMethod[] = ['memit', 'emmet', 'encore', 'alphaedit'];

/** `mean`: of the keys over all contexts (the paper's k*). `prompt`: that of the bare prompt. */
export type Source = 'mean' | 'prompt';

/** What the formula's A is made of: C; C + (λₙ/λ) I; or A⁻¹ = N, the projector on the null space of C. */
export type MetricKind = 'C' | 'C + ridge' | 'null space';

/** What is asked for with a method; what `MethodRow.options` does not name is not looked at. */
export interface MassOptions {
  /** λ of MEMIT and ENCORE, w of EMMET: the facts that C stands for. */
  readonly covarianceWeight: number;
  /** ε of EMMET, for more than one fact. */
  readonly epsilon: number;
  /** λₙ of ENCORE. */
  readonly normWeight: number;
  /** AlphaEdit: eigenvalues of C below it count as null. */
  readonly nullSpaceThreshold: number;
  /** L₂ of AlphaEdit. */
  readonly ridge: number;
}

export interface MethodRow {
  readonly title: string;
  readonly metric: MetricKind;
  /** Keys of earlier facts that are kept: none, or as they were before or after the facts were written. */
  readonly past: 'none' | 'before' | 'after';
}

export interface SingleRow extends MethodRow {
  /** The key that u is solved from. */
  readonly u: Source;
  /** The key in the divisor k · u, and the value v = kW + b in the residual v* − v. */
  readonly residual: Source;
}

export interface MassRow extends MethodRow {
  /** The options that it looks at. */
  readonly options: readonly (keyof MassOptions)[];
  /** μ for so many facts at once. */
  readonly mu: (options: MassOptions, facts: number) => number;
}

const single = { metric: 'C', past: 'none' } as const;

export const METHOD_TABLE: Readonly<Record<Method, SingleRow> & Record<MassMethod, MassRow>> = {
  rome: { ...single, u: 'mean', residual: 'prompt', title: 'ROME' },
  'p-rome': { ...single, u: 'prompt', residual: 'prompt', title: 'p-ROME' },
  'r-rome': { ...single, u: 'mean', residual: 'mean', title: 'r-ROME' },
  memit: {
    title: 'MEMIT',
    metric: 'C',
    past: 'none',
    options: ['covarianceWeight'],
    mu: ({ covarianceWeight }) => covarianceWeight,
  },
  emmet: {
    title: 'EMMET',
    metric: 'C',
    past: 'none',
    options: ['covarianceWeight', 'epsilon'],
    mu: ({ covarianceWeight, epsilon }, facts) => (facts > 1 ? covarianceWeight * epsilon : 0),
  },
  encore: {
    title: 'ENCORE',
    metric: 'C + ridge',
    past: 'before',
    options: ['covarianceWeight', 'normWeight'],
    mu: ({ covarianceWeight }) => covarianceWeight,
  },
  alphaedit: {
    title: 'AlphaEdit',
    metric: 'null space',
    past: 'after',
    options: ['nullSpaceThreshold', 'ridge'],
    mu: ({ ridge }) => ridge,
  },
};

/** As published for models of 6 to 8 billion parameters; GPT-2 XL: λ 20,000, w 10,000. */
export const MASS_DEFAULTS: MassOptions = {
  covarianceWeight: 15_000,
  epsilon: 0.1,
  normWeight: 10,
  nullSpaceThreshold: 2e-2,
  ridge: 10,
};
