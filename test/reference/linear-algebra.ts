/** Dense linear algebra in float64 loops, from the definitions. Matrices are rows [n, n]. */

/** KᵀK over the rows of keys [T, f]. */
export function secondMoment(keys: ArrayLike<number>, f: number): Float64Array {
  const sum = new Float64Array(f * f);
  for (let t = 0; t * f < keys.length; t += 1)
    for (let i = 0; i < f; i += 1)
      for (let j = 0; j < f; j += 1) sum[i * f + j]! += keys[t * f + i]! * keys[t * f + j]!;
  return sum;
}

/** L with L Lᵀ = a, or the row at which a is not positive definite. */
export function cholesky(a: ArrayLike<number>, n: number): { l: Float64Array; failed: number } {
  const l = new Float64Array(n * n);
  for (let j = 0; j < n; j += 1) {
    for (let i = j; i < n; i += 1) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k += 1) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i === j && sum <= 0) return { l, failed: j };
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j]!;
    }
  }
  return { l, failed: -1 };
}

/** x with L Lᵀ x = b. */
export function solveFactored(l: Float64Array, n: number, b: ArrayLike<number>): Float64Array {
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i += 1) {
    for (let k = 0; k < i; k += 1) x[i]! -= l[i * n + k]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < n; k += 1) x[i]! -= l[k * n + i]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  return x;
}

/** a x */
export function product(a: ArrayLike<number>, n: number, x: ArrayLike<number>): Float64Array {
  const y = new Float64Array(n);
  for (let i = 0; i < n; i += 1) for (let j = 0; j < n; j += 1) y[i]! += a[i * n + j]! * x[j]!;
  return y;
}

/**
 * A symmetric matrix with chosen eigenvalues, in every direction of space: random reflections H = I − 2 v vᵀ / |v|²
 * on both sides of the diagonal. Exact to float64.
 */
export function withSpectrum(
  eigenvalues: ArrayLike<number>,
  random: () => number,
  reflections = 4,
): Float64Array {
  const n = eigenvalues.length;
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) a[i * n + i] = eigenvalues[i]!;
  for (let r = 0; r < reflections; r += 1) {
    const v = Float64Array.from({ length: n }, random);
    const length = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
    for (let i = 0; i < n; i += 1) v[i]! /= length;
    // H a H = a − 2 v wᵀ − 2 w vᵀ,   w = a v − (vᵀ a v) v
    const w = product(a, n, v);
    const middle = v.reduce((sum, x, i) => sum + x * w[i]!, 0);
    for (let i = 0; i < n; i += 1) w[i]! -= middle * v[i]!;
    for (let i = 0; i < n; i += 1)
      for (let j = 0; j < n; j += 1) a[i * n + j]! -= 2 * (v[i]! * w[j]! + w[i]! * v[j]!);
  }
  return a;
}
