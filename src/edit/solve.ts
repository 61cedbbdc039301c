/**
 * C x = k and u = x / |x|, for any number of keys; why an edit writes along C⁻¹k stands in covariance-solver.ts.
 *
 * C⁻¹ is never formed. C = L Lᵀ is factored once (cholesky.ts); L y = k and Lᵀ x = y then give x to float32's accuracy times
 * the condition of C, and refinement (refine.ts) takes it to 1e-6 and better. Where C is so close to singular that even
 * this stalls, C + ρI is solved instead of C, with the smallest ρ that works, and the answer says so. `solve_1.wgsl` has
 * the same in one page, in plain float32.
 *
 * Matrices stay on the GPU; the vectors between two products are F numbers, held in float64 here. Right-hand sides that
 * are solved together share every reading of C and L.
 *
 * Source: Meng et al. 2022, eq. 2; kmeng01/rome `compute_u`.
 */
import { EditRefused, ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty, read, upload } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import type { Panels } from './panels.ts';
import { factorSolves, symmetricProducts } from './product.ts';
import { type System, improve } from './refine.ts';

/** |C x − k| / |k|, and the last correction over |x|, at which a solution is good. */
const TARGET = 1e-6;
/** A ridged solution worse than this is refused. */
const WORST = 1e-3;
/** Right-hand sides that go to the GPU at once: bounds its memory. */
const TOGETHER = 64;

export interface Solution {
  /** [F] u = x / |x|; belongs to the scope that was handed in. */
  readonly u: Tensor;
  /** [F] x itself. */
  readonly x: Float64Array;
  /** ρ in (C + ρI) x = k, the equation that x solves; 0: C itself. */
  readonly ridge: number;
  /** |(C + ρI) x − k| / |k|, in two floats. */
  readonly residual: number;
  /** Size of the last correction over |x|: an estimate of the error of x. */
  readonly correction: number;
  /** Steps of refinement, and of conjugate gradients after them. */
  readonly refinements: number;
  readonly cgSteps: number;
}

/** C and its factor, as `factorise` made it of C + ρI. */
export interface FactoredMatrix {
  /** Lower panels of C. */
  readonly c: Panels;
  readonly factor: Factor;
}

/**
 * u = x / |x| with C x = k, for every row of `keys`.
 *
 * @param keys  [N, F], or [F] for one
 * @returns     N solutions
 * @throws EditRefused when a key is zero or not finite, or (C + ρI) x = k cannot be solved to 1e-3
 */
export async function solve(s: Scope, { c, factor }: FactoredMatrix, keys: Tensor): Promise<Solution[]> {
  const f = keys.cols;
  if (f !== c.f) throw new ShapeError(`solve: a key of ${f} numbers, a covariance of order ${c.f}.`);
  const all = await read(s.gpu, keys);
  const found: Solution[] = [];
  for (let from = 0; from < keys.rows; from += TOGETHER) {
    const products = together((xs) => symmetricProducts(s, c, xs));
    const solves = together((bs) => factorSolves(s, factor, bs));
    const rows = Array.from({ length: Math.min(TOGETHER, keys.rows - from) }, (_, r) => from + r);
    const settled = await Promise.allSettled(
      rows.map(async (row) => {
        const k = Float64Array.from(all.subarray(row * f, (row + 1) * f));
        const solved = await solveOne({ k, label: keys.label, products, solves }, factor);
        return { ...solved, u: directionOf(s, solved.x) };
      }),
    );
    for (const one of settled) {
      if (one.status === 'rejected') throw one.reason;
      found.push(one.value);
    }
  }
  return found;
}

interface OneKey {
  /** [F] */
  readonly k: Float64Array;
  readonly label: string;
  /** C x */
  readonly products: (x: Float64Array) => Promise<Float64Array>;
  /** (L Lᵀ)⁻¹ b */
  readonly solves: (b: Float64Array) => Promise<Float64Array>;
}

async function solveOne(
  { k, label, products, solves }: OneKey,
  factor: Factor,
): Promise<Omit<Solution, 'u'>> {
  const size = Math.hypot(...k);
  if (!(size > 0) || !Number.isFinite(size)) {
    throw new EditRefused(
      `solve: the key "${label}" has the norm ${size}: no direction to solve for.`,
      'key_degenerate',
    );
  }
  const system = (rho: number): System => ({
    k,
    product: async (x) => (await products(x)).map((value, i) => value + rho * (x[i] ?? NaN)),
    precondition: solves,
  });

  let rho = 0;
  let found = await improve(system(rho), TARGET);
  // C is too close to singular: with a ridge then, as little as float32 can tell from none, or ten times that, …
  const least = Math.max(factor.ridge, 2 ** -23 * factor.meanDiagonal);
  for (let step = 1; step <= 100 && !(found.residual <= TARGET); step *= 10) {
    rho = least * step;
    found = await improve(system(rho), TARGET);
  }
  if (!(found.residual <= WORST)) {
    throw new EditRefused(
      `solve: |C x - k| / |k| stays at ${found.residual.toPrecision(2)} (ridge ${rho}, smallest pivot ${factor.smallestPivot}): ` +
        'C is too close to singular for this key. Build it from more tokens, or give a larger ridge.',
      'solve_failed',
    );
  }
  return {
    x: found.x,
    ridge: rho,
    residual: found.residual,
    correction: found.correction,
    refinements: found.steps,
    cgSteps: found.cgSteps,
  };
}

/** A function of one vector from a function of many: calls that are made at the same time become one. */
function together(
  batch: (xs: readonly Float64Array[]) => Promise<Float64Array[]>,
): (x: Float64Array) => Promise<Float64Array> {
  let waiting: Float64Array[] = [];
  let answers: Promise<Float64Array[]> | undefined;
  return async (x) => {
    const at = waiting.push(x) - 1;
    // Those that run in step with this one were resumed together: they make their calls before this goes on.
    answers ??= Promise.resolve().then(() => {
      const xs = waiting;
      [waiting, answers] = [[], undefined];
      return batch(xs);
    });
    return (await answers)[at] as Float64Array;
  };
}

/** u = x / |x|, [F]. */
function directionOf(s: Scope, x: Float64Array): Tensor {
  // Brought near 1 first: x may be far beyond float32's range where C is small.
  const scale = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const t = upload(
    s,
    Float32Array.from(x, (value) => value / scale),
    [x.length],
    'x',
  );
  const u = normalise(s, t);
  s.release(t);
  return u;
}

/** Every row of x [n, F] at one length, [n, F]. */
export function normalise(s: Scope, x: Tensor, length = 1): Tensor {
  const u = empty(s, x.shape, 'u');
  s.gpu.run('edit/normalise', { x, u }, { f: x.cols, length }, { groups: [x.rows] });
  return u;
}
