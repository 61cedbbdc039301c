/**
 * C x = k to 1e-6 and better, from a float32 factor.
 *
 * The factor gives x to float32's accuracy times the condition of C. Residuals k − C x are then taken in two floats
 * and their solutions added, until what is added is small too (it estimates the error of x). Where C is so badly
 * conditioned that this stalls, conjugate gradients go on with the factor as preconditioner; where even they stall,
 * C + ρI is solved instead of C, with the smallest ρ that works, and the answer says so.
 *
 * Matrices stay on the GPU; the vectors between two products are F numbers, held in float64 here.
 *
 * Source: Higham 2002, chapter 12 (iterative refinement); Golub and Van Loan 2013, 11.5 (preconditioned CG).
 */
import { EditRefused, ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty, read, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { conjugateGradients, refine } from './iterate.ts';
import type { Iterate, System } from './iterate.ts';
import type { Panels } from './panels.ts';
import { factorSolve, symmetricProduct } from './product.ts';

/** |C x − k| / |k|, and the last correction over |x|, at which a solution is good. */
const TARGET = 1e-6;
/** A ridged solution worse than this is refused. */
const WORST = 1e-3;

export interface Solution {
  /** [F] u = x / |x|; belongs to the scope that was handed in. */
  readonly u: Tensor;
  /** [F] x itself. */
  readonly x: Float64Array;
  /** ρ in (C + ρI) x = k, the equation that x solves; 0: C itself. */
  readonly ridge: number;
  /** |(C + ρI) x − k| / |k|, in two floats. */
  readonly residual: number;
  /** |C x − k| / |k| without the ridge. */
  readonly plainResidual: number;
  /** Size of the last correction over |x|: an estimate of the error of x. */
  readonly correction: number;
  /** Steps of refinement, and of conjugate gradients after them. */
  readonly refinements: number;
  readonly cgSteps: number;
  /** residual and correction are within 1e-6. */
  readonly reached: boolean;
}

/**
 * u = x / |x| with C x = k.
 *
 * @param factor  of C + ρI, as `factorise` made it
 * @param c       lower panels of C
 * @param k       [F]
 * @param ridge   part of the equation wanted; 0 where absent
 * @throws EditRefused when k is zero or not finite, or (C + ρI) x = k cannot be solved to 1e-3
 * @see kmeng01/rome `compute_u`
 */
export async function solve(
  s: Scope,
  factor: Factor,
  c: Panels,
  k: Tensor,
  { ridge = 0, cgLimit = 200 }: { readonly ridge?: number; readonly cgLimit?: number } = {},
): Promise<Solution> {
  if (k.size !== c.f)
    throw new ShapeError(`solve: a key of ${k.size} numbers, a covariance of order ${c.f}.`);
  const right = Float64Array.from(await read(s.gpu, k));
  const size = Math.hypot(...right);
  if (!(size > 0) || !Number.isFinite(size)) {
    throw new EditRefused(
      `solve: the key "${k.label}" has the norm ${size}: no direction to solve for.`,
      'key_degenerate',
    );
  }
  const system = (rho: number): System => ({
    k: right,
    product: async (x) => (await symmetricProduct(s, c, x)).map((value, i) => value + rho * (x[i] ?? NaN)),
    precondition: (b) => factorSolve(s, factor, b),
  });

  let rho = ridge;
  let found = await bestOf(system(rho), cgLimit);
  // C is too close to singular: with a ridge then, as little as float32 can tell from none, or ten times that, …
  const least = Math.max(factor.ridge, 2 ** -23 * factor.meanDiagonal);
  for (let step = 1; step <= 100 && !(found.residual <= TARGET); step *= 10) {
    if (least * step <= ridge) continue;
    rho = least * step;
    found = await bestOf(system(rho), cgLimit);
  }
  if (!(found.residual <= WORST)) {
    throw new EditRefused(
      `solve: |C x - k| / |k| stays at ${found.residual.toPrecision(2)} (ridge ${rho}, smallest pivot ${factor.smallestPivot}): ` +
        'C is too close to singular for this key. Build it from more tokens, or give a larger ridge.',
      'solve_failed',
    );
  }
  const plain = rho === 0 ? found.residual : await residualOf(system(0), found.x, size);
  const u = normalise(s, found.x);
  return {
    u,
    x: found.x,
    ridge: rho,
    residual: found.residual,
    plainResidual: plain,
    correction: found.correction,
    refinements: found.steps,
    cgSteps: found.cgSteps,
    reached: reached(found),
  };
}

/** u = x / |x|, [F]. */
export function normalise(s: Scope, x: Float64Array | Tensor): Tensor {
  const f = x instanceof Float64Array ? x.length : x.size;
  // Brought near 1 first: x may be far beyond float32's range where C is small.
  const scale = x instanceof Float64Array ? x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : 1;
  const t =
    x instanceof Float64Array
      ? upload(
          s,
          Float32Array.from(x, (value) => value / scale),
          [f],
          'x',
        )
      : x;
  const u = empty(s, [f], 'u');
  s.gpu.run('edit/normalise', { x: t, u }, { f }, { groups: [1] });
  if (t !== x) s.release(t);
  return u;
}

const reached = (found: Iterate): boolean => found.residual <= TARGET && found.correction <= TARGET;

/** Refinement; where it stalls, conjugate gradients from what it reached. */
async function bestOf(system: System, cgLimit: number): Promise<Iterate & { readonly cgSteps: number }> {
  const refined = await refine(system, TARGET);
  if (reached(refined)) return { ...refined, cgSteps: 0 };
  const cg = await conjugateGradients(system, refined, TARGET, cgLimit);
  const better = cg.residual <= refined.residual ? cg : refined;
  return { ...better, steps: refined.steps, cgSteps: cg.steps };
}

async function residualOf(system: System, x: Float64Array, size: number): Promise<number> {
  const y = await system.product(x);
  return Math.hypot(...y.map((value, i) => value - (system.k[i] ?? NaN))) / size;
}
