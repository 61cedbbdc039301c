/**
 * u = C⁻¹k / |C⁻¹k|: the direction in key space that an edit writes along.
 *
 * C = E[kkᵀ] weighs it so that keys that are common in ordinary text barely overlap with u. C is never inverted: it is
 * factored once, and each edit costs two triangular solves and their refinement. With the identity in its place u is k
 * itself, which every output says.
 *
 * Source: Meng et al. 2022, eq. 2; kmeng01/rome `compute_u`.
 */
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

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
