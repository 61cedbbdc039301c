/**
 * u = C⁻¹k / |C⁻¹k|: the direction in key space that an edit writes along.
 *
 * Why C⁻¹k: of all changes Δ of W with Δ k = v* − v we want the one that moves the values of ordinary keys least, so we
 * minimise E|Δk'|² = tr(Δ C Δᵀ) over the keys k' of ordinary text, C = E[k'k'ᵀ]. With a multiplier μ [D] for the condition
 * the derivative is zero where 2 Δ C = μ kᵀ, that is Δ = ½ μ (C⁻¹k)ᵀ: rank one. The condition then gives
 * ½ μ = (v* − v) / (k · C⁻¹k). Any multiple of C⁻¹k gives the same Δ, so u has length 1 and Λ = (v* − v) / (k · u).
 *
 * C is never inverted: it is factored once, and each edit costs two triangular solves and their refinement. With the
 * identity in its place u is k itself, which every output says.
 *
 * Source: Meng et al. 2022, eq. 2; kmeng01/rome `compute_u`.
 */
import { EditRefused } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Factor, factorise } from './cholesky.ts';
import { type Panels, diagonalOf, uploadPanels } from './panels.ts';
import { type Solution, normalise, solve } from './solve.ts';
import { type Spectrum, spectrum } from './spectrum.ts';

/** C has at most as many directions as tokens; below twice F the weakest of them are chance. */
export const TOKENS_PER_DIMENSION = 2;

/**
 * Refuses a C of too few tokens, or with a neuron that never fired.
 *
 * @param key       what edit files call the covariance by
 * @param diagonal  [F] of C
 * @param tokens    that C is the mean of
 * @throws EditRefused `too_few_tokens`, `covariance_singular`
 */
export function checkRank(key: string, diagonal: ArrayLike<number>, tokens: number): void {
  const f = diagonal.length;
  if (!(tokens >= TOKENS_PER_DIMENSION * f)) {
    throw new EditRefused(
      `covariance ${key}: C was built from ${tokens} tokens, at least 2F = ${TOKENS_PER_DIMENSION * f} needed: ` +
        `it has no more directions than tokens. Build it from more text (10F = ${10 * f} is better).`,
      'too_few_tokens',
    );
  }
  for (let i = 0; i < f; i += 1) {
    const value = diagonal[i] ?? NaN;
    if (value > 0 && Number.isFinite(value)) continue;
    throw new EditRefused(
      `covariance ${key}: the mean square of neuron ${i} is ${value} over ${tokens} tokens, so C has no inverse. ` +
        (value === 0 ? 'Build it from more varied text.' : 'The file is damaged: build it again.'),
      'covariance_singular',
    );
  }
}

/** How well C x = k was solved. */
export interface Solved {
  /** |C x − k| / |k|; 0 for the identity. */
  readonly residual: number;
  /** ρ of C + ρI that was factored. */
  readonly ridge: number;
  /** Tokens that C was built from; 0 for the identity. */
  readonly tokens: number;
}

export interface Solver {
  /** Which C: its cache key, or `identity`. Edit files carry it. */
  readonly key: string;
  /** u [F] for a key [F], in scope `s`. */
  direction(s: Scope, key: Tensor): Promise<{ u: Tensor; solved: Solved }>;
}

/** C of one layer, as a file or a build hands it over. */
export interface Covariance {
  /** What edit files call it by. */
  readonly key: string;
  /** F. */
  readonly size: number;
  readonly tokens: number;
  /** The lower panels of C. */
  readonly panels: Float32Array<ArrayBuffer>;
}

export interface CovarianceSolver extends Solver {
  readonly factor: Factor;
  /** Condition and effective rank of C. */
  spectrum(): Promise<Spectrum>;
  /** Gives C and its factor back. */
  close(): void;
}

/**
 * Factors C; every `direction` then costs two triangular solves and their refinement.
 *
 * @throws EditRefused when C was built from fewer than 2F tokens, has a zero on its diagonal, or cannot be factored
 */
export async function covarianceSolver(gpu: Gpu, covariance: Covariance): Promise<CovarianceSolver> {
  const { key, size, tokens, panels } = covariance;
  checkRank(key, diagonalOf(panels, size), tokens);
  return panelSolver(gpu, { key, tokens }, (owner) => uploadPanels(owner, panels, size));
}

/** The same for a C that `make` makes on the device. */
export async function panelSolver(
  gpu: Gpu,
  { key, tokens }: Pick<Covariance, 'key' | 'tokens'>,
  make: (owner: Scope) => Panels | Promise<Panels>,
): Promise<CovarianceSolver> {
  const owner = gpu.open();
  try {
    const c = await make(owner);
    const factor = await factorise(owner, c);
    return {
      key,
      factor,
      direction: async (s, k) => {
        const [{ u, residual, ridge }] = (await solve(s, { c, factor }, k)) as [Solution];
        return { u, solved: { residual, ridge, tokens } };
      },
      spectrum: () => gpu.scope((s) => spectrum(s, c, factor)),
      close: () => owner.close(),
    };
  } catch (error) {
    owner.close();
    throw error;
  }
}

/** C = I: u is the key itself. Another method than ROME's, for comparison; every output says so. */
export function identitySolver(): Solver {
  return {
    key: 'identity',
    direction: async (s, k) => ({ u: normalise(s, k), solved: { residual: 0, ridge: 0, tokens: 0 } }),
  };
}
