/**
 * C = Σ λ v vᵀ: eigenvalues and eigenvectors of a symmetric matrix, in float64 on the CPU.
 *
 *   1. tridiagonalise   T = Qᵀ C Q by Householder reflections H = I − v vᵀ / h, from the last row up
 *   2. collect          Qᵀ = (H_{F−1} … H_1)ᵀ
 *   3. diagonalise      implicit QL steps with Wilkinson's shift; every rotation turns two rows of Qᵀ
 *
 * float32 would not do: the projector of AlphaEdit cuts the spectrum at a threshold, where eigenvalues lie close to each
 * other, and an error ε |C| in C turns eigenvectors by ε |C| / gap. About 10 F³ operations, once for a C: 3 s for
 * F = 1024. Hosts keep the result.
 *
 * Source: Golub and Van Loan 2013, sections 8.3.1 (tridiagonal form) and 8.3.5 (implicit symmetric QR, here as QL); the
 * order of work is that of EISPACK's tred2 and tql2.
 */
import { EditRefused } from '../errors.ts';

export interface Eigen {
  /** [F] ascending */
  readonly values: Float64Array<ArrayBuffer>;
  /** [F, F], a row for each value, of length 1 */
  readonly vectors: Float32Array<ArrayBuffer>;
}

/** QL steps for one eigenvalue; two are usual. */
const MOST_STEPS = 60;

/** @param rows [F, F], symmetric; its lower triangle is read */
export function symmetricEigen(rows: ArrayLike<number>, f: number): Eigen {
  const a = Float64Array.from(rows);
  const { diagonal, below, h } = tridiagonalise(a, f);
  const q = collect(a, h, f);
  diagonalise(diagonal, below, q, f);
  const order = Uint32Array.from(diagonal.keys()).sort(
    (i, j) => (diagonal[i] as number) - (diagonal[j] as number),
  );
  const vectors = new Float32Array(f * f);
  order.forEach((from, to) => vectors.set(q.subarray(from * f, from * f + f), to * f));
  return { values: Float64Array.from(order, (i) => diagonal[i] as number), vectors };
}

interface Tridiagonal {
  /** [F] of T, and what stands below it: `below[i]` couples i − 1 and i. */
  readonly diagonal: Float64Array<ArrayBuffer>;
  readonly below: Float64Array<ArrayBuffer>;
  /** [F] |v|² / 2 of each reflection; 0: none was needed. */
  readonly h: Float64Array<ArrayBuffer>;
}

/** Leaves v of each reflection in row i of a, columns 0 … i − 1. */
function tridiagonalise(a: Float64Array, f: number): Tridiagonal {
  const [below, h, p] = [new Float64Array(f), new Float64Array(f), new Float64Array(f)];
  for (let i = f - 1; i > 0; i -= 1) {
    const v = a.subarray(i * f, i * f + i);
    let rest = 0;
    for (let k = 0; k < i - 1; k += 1) rest += (v[k] as number) ** 2;
    const last = v[i - 1] as number;
    below[i] = last;
    if (rest === 0) continue;
    // v = x − g e, g = ∓|x| with the sign that cancels nothing
    const g = -Math.sign(last || 1) * Math.sqrt(rest + last ** 2);
    const half = g * (g - last);
    below[i] = g;
    h[i] = half;
    v[i - 1] = last - g;
    // p = C v / h, by the lower triangle
    p.fill(0, 0, i);
    for (let r = 0; r < i; r += 1) {
      const row = a.subarray(r * f, r * f + r + 1);
      const vr = v[r] as number;
      let sum = (row[r] as number) * vr;
      for (let c = 0; c < r; c += 1) {
        const x = row[c] as number;
        sum += x * (v[c] as number);
        (p[c] as number) += x * vr;
      }
      (p[r] as number) += sum;
    }
    let along = 0;
    for (let k = 0; k < i; k += 1) {
      p[k] = (p[k] as number) / half;
      along += (p[k] as number) * (v[k] as number);
    }
    // C −= v wᵀ + w vᵀ,   w = p − (v · p) / (2 h) v
    along /= 2 * half;
    for (let k = 0; k < i; k += 1) (p[k] as number) -= along * (v[k] as number);
    for (let r = 0; r < i; r += 1) {
      const row = a.subarray(r * f, r * f + r + 1);
      const vr = v[r] as number;
      const wr = p[r] as number;
      for (let c = 0; c <= r; c += 1) (row[c] as number) -= vr * (p[c] as number) + wr * (v[c] as number);
    }
  }
  return { diagonal: Float64Array.from({ length: f }, (_, i) => a[i * f + i] as number), below, h };
}

/** Qᵀ, rows [F, F]: reflection i changes the first i coordinates of the rows made so far. */
function collect(a: Float64Array, h: Float64Array, f: number): Float64Array {
  const q = new Float64Array(f * f);
  for (let i = 0; i < f; i += 1) {
    q[i * f + i] = 1;
    const half = h[i] as number;
    if (half === 0) continue;
    const v = a.subarray(i * f, i * f + i);
    for (let r = 0; r < i; r += 1) {
      const row = q.subarray(r * f, r * f + i);
      let along = 0;
      for (let k = 0; k < i; k += 1) along += (row[k] as number) * (v[k] as number);
      along /= half;
      for (let k = 0; k < i; k += 1) (row[k] as number) -= along * (v[k] as number);
    }
  }
  return q;
}

/** Turns T into its eigenvalues and the rows of q into eigenvectors, in place. */
function diagonalise(d: Float64Array, below: Float64Array, q: Float64Array, f: number): void {
  const e = new Float64Array(f);
  e.set(below.subarray(1)); // e[i] couples i and i + 1
  for (let l = 0; l < f; l += 1) {
    for (let step = 0; ; step += 1) {
      let m = l;
      while (m < f - 1) {
        const size = Math.abs(d[m] as number) + Math.abs(d[m + 1] as number);
        if (Math.abs(e[m] as number) <= Number.EPSILON * size) break;
        m += 1;
      }
      if (m === l) break;
      if (step === MOST_STEPS)
        throw new EditRefused(
          `eigenvalues: QL does not end at ${l} of ${f}: the matrix holds numbers that are not finite. Build it again.`,
          'covariance_singular',
        );
      qlStep(d, e, q, f, l, m);
    }
  }
}

/** One implicit QL step on rows l … m of T, with the eigenvalue of the 2 x 2 block at l that is closer as shift. */
function qlStep(d: Float64Array, e: Float64Array, q: Float64Array, f: number, l: number, m: number): void {
  const at = (x: Float64Array, i: number): number => x[i] as number;
  const ratio = (at(d, l + 1) - at(d, l)) / (2 * at(e, l));
  const root = Math.sqrt(ratio ** 2 + 1);
  let g = at(d, m) - at(d, l) + at(e, l) / (ratio + (ratio < 0 ? -root : root));
  let [sine, cosine, shift] = [1, 1, 0];
  for (let i = m - 1; i >= l; i -= 1) {
    const bulge = sine * at(e, i);
    const kept = cosine * at(e, i);
    const r = Math.sqrt(bulge ** 2 + g ** 2);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = at(d, i + 1) - shift;
      e[m] = 0;
      return;
    }
    [sine, cosine] = [bulge / r, g / r];
    g = at(d, i + 1) - shift;
    const t = (at(d, i) - g) * sine + 2 * cosine * kept;
    shift = sine * t;
    d[i + 1] = g + shift;
    g = cosine * t - kept;
    rotate(q.subarray(i * f, i * f + f), q.subarray((i + 1) * f, (i + 1) * f + f), cosine, sine);
  }
  d[l] = at(d, l) - shift;
  e[l] = g;
  e[m] = 0;
}

/** (x, y) ← (c x − s y, s x + c y) */
function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let k = 0; k < x.length; k += 1) {
    const xk = x[k] as number;
    const yk = y[k] as number;
    x[k] = c * xk - s * yk;
    y[k] = s * xk + c * yk;
  }
}
