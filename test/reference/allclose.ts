/**
 * Compares a float32 result with a float64 reference under a derived bound.
 *
 * A sum of K products in float32 strays by about eps sqrt(K) of the size of its terms, so for element i:
 *   |got - want| <= 4 eps sqrt(K) (scale + |want|),   eps = 2^-24 * 2 (one rounding each for product and sum)
 * `scale` is the largest magnitude of a term that enters the sum; 0 leaves a purely relative bound.
 */
const EPS = 2 ** -23;

export interface Bound {
  /** Length of the longest sum behind an element. */
  reduce?: number;
  /** Largest magnitude among the terms of the sums. */
  scale?: number;
}

export function allclose(
  name: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { reduce = 1, scale = 0 }: Bound = {},
): void {
  if (got.length !== want.length) throw new Error(`${name}: ${got.length} numbers, expected ${want.length}`);
  const tolerance = 4 * EPS * Math.sqrt(reduce);
  let worst = -1;
  let worstRatio = 1;
  let failures = 0;
  for (let i = 0; i < want.length; i += 1) {
    const bound = tolerance * (scale + Math.abs(want[i]!));
    const error = Math.abs(got[i]! - want[i]!);
    if (error <= bound) continue; // false for NaN
    failures += 1;
    const ratio = Number.isNaN(error) ? Infinity : error / bound;
    if (worst < 0 || ratio > worstRatio) [worst, worstRatio] = [i, ratio];
  }
  if (failures > 0) {
    const bound = tolerance * (scale + Math.abs(want[worst]!));
    throw new Error(
      `${name}: ${failures} of ${want.length} differ; worst at ${worst}: got ${got[worst]}, want ${want[worst]}, bound ${bound}`,
    );
  }
}

/** ‖got − want‖ / ‖want‖ in float64. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) throw new Error(`${got.length} numbers, expected ${want.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < want.length; i += 1) {
    difference += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
