/** Means, intervals and classification scores, in float64. */
import { UsageError } from '../errors.ts';
import { Random } from '../models/random.ts';

/** undefined for no values. */
export function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, x) => sum + x, 0) / values.length;
}

/** n / Σ 1/x; 0 when one of them is 0, undefined when one is missing. */
export function harmonicMean(values: readonly (number | undefined)[]): number | undefined {
  let sum = 0;
  for (const x of values) {
    if (x === undefined) return undefined;
    if (x <= 0) return 0;
    sum += 1 / x;
  }
  return sum === 0 ? undefined : values.length / sum;
}

export interface BootstrapOptions {
  readonly seed: number;
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
 * @see Efron and Tibshirani 1993, chapter 13
 */
export function bootstrap<K extends string>(
  n: number,
  statistic: (drawn: readonly number[]) => Readonly<Partial<Record<K, number | undefined>>>,
  { seed, samples = 1000, confidence = 0.95 }: BootstrapOptions,
): Record<K, readonly [low: number, high: number] | undefined> {
  if (n === 0) throw new UsageError('bootstrap: there are no records. Give at least one.');
  const random = new Random(seed);
  const found = new Map<K, number[]>();
  for (let i = 0; i < samples; i += 1) {
    const drawn = Array.from({ length: n }, () => Math.floor(random.uniform() * n));
    for (const [name, value] of Object.entries(statistic(drawn)) as [K, number | undefined][]) {
      const list = found.get(name) ?? [];
      found.set(name, list);
      if (value !== undefined) list.push(value);
    }
  }
  const tail = (1 - confidence) / 2;
  const interval = (values: number[]): readonly [number, number] | undefined => {
    values.sort((a, b) => a - b);
    return values.length === 0 ? undefined : [quantile(values, tail), quantile(values, 1 - tail)];
  };
  return Object.fromEntries([...found].map(([name, values]) => [name, interval(values)])) as Record<
    K,
    readonly [number, number] | undefined
  >;
}

/** Linear between order statistics, as numpy's default. @param sorted ascending, not empty */
export function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? NaN;
  const high = sorted[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
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
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
  const correct = truth.filter((x, i) => x === predicted[i]).length;
  const spread = Math.sqrt((n * n - dot(p, p)) * (n * n - dot(t, t)));
  return spread === 0 ? 0 : (correct * n - dot(t, p)) / spread;
}
