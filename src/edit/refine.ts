/**
 * Improves a solution of A x = k, given products with A and solves with something close to A.
 *
 * Residuals k − A x are taken in two floats and their solutions added, until what is added is small too (it estimates
 * the error of x). Where A is so badly conditioned that this stalls, conjugate gradients go on.
 *
 * Source: Higham 2002, chapter 12 (iterative refinement); Golub and Van Loan 2013, 11.5 (preconditioned CG).
 */
import { dot, norm } from '../statistics.ts';

export interface System {
  /** [F] right-hand side. */
  readonly k: Float64Array;
  /** A x, more exact than float32. */
  readonly product: (x: Float64Array) => Promise<Float64Array>;
  /** M⁻¹ b, M close to A, in float32. */
  readonly precondition: (b: Float64Array) => Promise<Float64Array>;
}

export interface Iterate {
  readonly x: Float64Array;
  /** |A x − k| / |k|, computed from x itself. */
  readonly residual: number;
  /** |M⁻¹ (k − A x)| / |x|: about the relative error of x. */
  readonly correction: number;
  readonly steps: number;
}

const MAX_REFINEMENTS = 12;
/** Refinement goes on as long as each correction is at most this part of the one before. */
const PROGRESS = 0.5;
/** Conjugate gradients end when the residual has not come down by a tenth in so many steps. */
const PATIENCE = 30;
/** Steps of conjugate gradients at most. */
const CG_STEPS = 200;

/** Refinement; where it stalls, conjugate gradients from what it reached. */
export async function improve(
  system: System,
  target: number,
): Promise<Iterate & { readonly cgSteps: number }> {
  const refined = await refine(system, target);
  if (refined.residual <= target && refined.correction <= target) return { ...refined, cgSteps: 0 };
  const cg = await conjugateGradients(system, refined, target);
  const better = cg.residual <= refined.residual ? cg : refined;
  return { ...better, steps: refined.steps, cgSteps: cg.steps };
}

/**
 * Iterative refinement: x ← x + M⁻¹ (k − A x), until residual and correction are within `target` or progress ends.
 * Returns the best x that it saw.
 */
export async function refine({ k, product, precondition }: System, target: number): Promise<Iterate> {
  const size = norm(k);
  let x = await precondition(k);
  let best: Iterate | undefined;
  for (let steps = 0; ; steps += 1) {
    const r = subtract(k, await product(x));
    const d = await precondition(r);
    const residual = norm(r) / size;
    const correction = norm(d) / norm(x);
    const slow = best !== undefined && !(correction <= PROGRESS * best.correction);
    if (!best || residual < best.residual) best = { x, residual, correction, steps };
    if (
      (residual <= target && correction <= target) ||
      slow ||
      steps === MAX_REFINEMENTS ||
      !Number.isFinite(correction)
    )
      return best;
    x = x.map((value, i) => value + (d[i] ?? NaN));
  }
}

/**
 * Preconditioned conjugate gradients from `start`, in the flexible form (Polak-Ribière), since a float32 solve is
 * not quite the same linear map every time. Ends within `target`, after `limit` steps, without progress, or when A shows
 * itself not to be positive definite. The residual it reports is computed from x.
 */
export async function conjugateGradients(
  { k, product, precondition }: System,
  start: Iterate,
  target: number,
  limit = CG_STEPS,
): Promise<Iterate> {
  const size = norm(k);
  let x = start.x.every(Number.isFinite) ? start.x : new Float64Array(k.length);
  let r = subtract(k, await product(x));
  let z = await precondition(r);
  let p = z;
  let steps = 0;
  let least = { residual: norm(r), step: 0 };
  for (; steps < limit && steps - least.step < PATIENCE; steps += 1) {
    if (norm(r) <= target * size && norm(z) <= target * norm(x)) break;
    const ap = await product(p);
    const curvature = dot(p, ap);
    if (!(curvature > 0)) break;
    const rz = dot(r, z);
    const alpha = rz / curvature;
    const before = r;
    x = x.map((value, i) => value + alpha * (p[i] ?? NaN));
    r = r.map((value, i) => value - alpha * (ap[i] ?? NaN));
    if (norm(r) < 0.9 * least.residual) least = { residual: norm(r), step: steps + 1 };
    z = await precondition(r);
    const beta = dot(z, subtract(r, before)) / rz;
    p = z.map((value, i) => value + beta * (p[i] ?? NaN));
  }
  const residual = norm(subtract(k, await product(x))) / size;
  return { x, residual, correction: norm(z) / norm(x), steps };
}

function subtract(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - (b[i] ?? NaN));
}
