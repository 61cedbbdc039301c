/** Means, quantiles, intervals, vectors and classification scores, in float64. Depends on no room. */
import { UsageError } from './errors.ts';

/** undefined for no values. */
export function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, x) => sum + x, 0) / values.length;
}

/** The middle one, or the mean of the two in the middle; NaN of none. */
export function median(values: readonly number[]): number {
  return quantile(sorted(values), 0.5);
}

/** Linear between order statistics, as numpy's default; NaN of none. @param ascending sorted values */
export function quantile(ascending: readonly number[], q: number): number {
  const at = q * (ascending.length - 1);
  const low = ascending[Math.floor(at)] ?? NaN;
  const high = ascending[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
}

function sorted(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b);
}

/** n / Σ 1/x; undefined when one is missing, else 0 when one of them is 0. */
export function harmonicMean(values: readonly (number | undefined)[]): number | undefined {
  if (values.includes(undefined)) return undefined;
  let sum = 0;
  for (const x of values as readonly number[]) {
    if (x <= 0) return 0;
    sum += 1 / x;
  }
  return sum === 0 ? undefined : values.length / sum;
}

/** Σ a b */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] ?? NaN) * (b[i] ?? NaN);
  return sum;
}

/** |a| */
export function norm(a: ArrayLike<number>): number {
  return Math.sqrt(dot(a, a));
}

/** |a − b| */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += ((a[i] ?? NaN) - (b[i] ?? NaN)) ** 2;
  return Math.sqrt(sum);
}

/** a · b / (|a| |b|) */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return dot(a, b) / (norm(a) * norm(b));
}

/** √(Σ (x − μ)² / (n − 1)), n > 1 */
export function deviation(values: ArrayLike<number>): number {
  const n = values.length;
  let sum = 0;
  for (let i = 0; i < n; i += 1) sum += values[i] ?? NaN;
  let squares = 0;
  for (let i = 0; i < n; i += 1) squares += ((values[i] ?? NaN) - sum / n) ** 2;
  return Math.sqrt(squares / (n - 1));
}

export type Interval = readonly [low: number, high: number];

export interface BootstrapOptions {
  /** Draws uniformly from 0 up to 1; seeded, so that the same records give the same interval. */
  readonly random: { uniform(): number };
  /** Default 1,000. */
  readonly samples?: number;
  /** Default 0.95. */
  readonly confidence?: number;
}

/**
 * Percentile intervals of statistics of one sample, by drawing as many records as there are, with replacement. All
 * statistics are computed on the same draws.
 *
 * @param n         records
 * @param statistic from the indices of the records drawn to named numbers; an undefined one is left out
 * @returns an interval for each name that had a number in at least one draw
 * @throws UsageError for no records
 * @see Efron and Tibshirani 1993, chapter 13
 */
export function bootstrap<K extends string>(
  n: number,
  statistic: (drawn: readonly number[]) => Readonly<Partial<Record<K, number | undefined>>>,
  { random, samples = 1000, confidence = 0.95 }: BootstrapOptions,
): Partial<Record<K, Interval>> {
  if (n === 0) throw new UsageError('bootstrap: there are no records. Give at least one.');
  const found = new Map<string, number[]>();
  for (let i = 0; i < samples; i += 1) {
    const drawn = Array.from({ length: n }, () => Math.floor(random.uniform() * n));
    for (const [name, value] of Object.entries<number | undefined>(statistic(drawn))) {
      if (value === undefined) continue;
      const list = found.get(name);
      if (list) list.push(value);
      else found.set(name, [value]);
    }
  }
  const tail = (1 - confidence) / 2;
  const intervals = [...found].map(([name, values]): [string, Interval] => {
    const ascending = sorted(values);
    return [name, [quantile(ascending, tail), quantile(ascending, 1 - tail)]];
  });
  return Object.fromEntries(intervals) as Partial<Record<K, Interval>>;
}

/**
 * Half the width of the 95 % interval of a mean: t s / √n, with Student's t for n − 1 degrees of freedom.
 *
 * t is Fisher's expansion around the normal quantile: 3 % too small at n = 3, right to 1 % from n = 4 on.
 *
 * @returns NaN for fewer than 3 values, which say nothing of their spread
 * @see Abramowitz and Stegun 1964, 26.7.5
 */
export function marginOfMean(values: readonly number[]): number {
  const n = values.length;
  if (n < 3) return NaN;
  const [z, v] = [1.959964, n - 1];
  const t =
    z +
    (z ** 3 + z) / (4 * v) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * v ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * v ** 3);
  return (t * deviation(values)) / Math.sqrt(n);
}

/**
 * F1 of each class, weighted by how often the class is true. An invalid answer is a class of its own, which is never
 * true and so has no weight; it lowers the recall of the others.
 *
 * @see scikit-learn `f1_score(average="weighted")`
 */
export function weightedF1(truth: readonly number[], predicted: readonly number[]): number {
  let sum = 0;
  for (const label of new Set(truth)) {
    const support = truth.filter((x) => x === label).length;
    const claimed = predicted.filter((x) => x === label).length;
    const hits = truth.filter((x, i) => x === label && predicted[i] === label).length;
    sum += support * ((2 * hits) / (support + claimed)); // 2PR / (P + R), and 0 without a hit
  }
  return sum / truth.length;
}

/**
 * Matthews correlation for any number of classes; 0 where it is undefined, e.g. for constant answers.
 *
 * @see Gorodkin 2004; scikit-learn `matthews_corrcoef`
 */
export function matthews(truth: readonly number[], predicted: readonly number[]): number {
  const labels = [...new Set([...truth, ...predicted])];
  const count = (list: readonly number[], label: number): number => list.filter((x) => x === label).length;
  const n = truth.length;
  const t = labels.map((label) => count(truth, label));
  const p = labels.map((label) => count(predicted, label));
  const correct = truth.filter((x, i) => x === predicted[i]).length;
  const spread = Math.sqrt((n * n - dot(p, p)) * (n * n - dot(t, t)));
  return spread === 0 ? 0 : (correct * n - dot(t, p)) / spread;
}
