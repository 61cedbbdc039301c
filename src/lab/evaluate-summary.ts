/** From cases to the table: percentages with intervals, and the edits that disable the model. */
import type { Method } from '../edit/method.ts';
import type { CaseResult, MethodResult } from './evaluate.ts';
import { summarise } from './metrics.ts';
import type { Summary } from './metrics.ts';
import { Random } from '../models/random.ts';
import { bootstrap, mean } from '../statistics.ts';
import type { Interval } from '../statistics.ts';

/** One method over all cases, as `evaluate --json` prints it: percentages, GE × 100, RS × 100. */
export type MethodSummary = {
  readonly n: number;
  readonly method: Method | 'before';
  readonly GE?: number;
  readonly RS?: number;
  readonly entropy?: number;
  readonly interval: Summary['interval'] & {
    readonly GE?: Interval;
    readonly RS?: Interval;
    readonly entropy?: Interval;
  };
  readonly disabling?: number;
  readonly suspect?: number;
} & Summary['values'];

export function summariseMethod(cases: readonly CaseResult[], method: Method, seed: number): MethodSummary {
  const results = cases.flatMap(({ methods }) => methods[method] ?? []);
  const { values, interval } = summarise(
    results.flatMap(({ metrics }) => metrics ?? []),
    seed,
  );
  const count = (verdict: string): number => results.filter((result) => result.verdict === verdict).length;
  const texts = textNumbers(results, seed);
  return {
    n: results.length,
    method,
    ...values,
    ...texts.values,
    interval: { ...interval, ...texts.interval },
    disabling: count('disabling'),
    suspect: count('suspect'),
  };
}

/** The unedited model on the same prompts. */
export function summariseBefore(cases: readonly CaseResult[], seed: number): MethodSummary {
  const metrics = cases.flatMap(({ before }) => before?.metrics ?? []);
  const { n, values, interval } = summarise(metrics, seed);
  return { n, method: 'before', ...values, interval };
}

function textNumbers(
  results: readonly MethodResult[],
  seed: number,
): {
  values: { GE?: number; RS?: number; entropy?: number };
  interval: { GE?: Interval; RS?: Interval; entropy?: Interval };
} {
  const values: { GE?: number; RS?: number; entropy?: number } = {};
  const interval: { GE?: Interval; RS?: Interval; entropy?: Interval } = {};
  for (const [name, scale] of [
    ['GE', 1],
    ['RS', 100],
    ['entropy', 1],
  ] as const) {
    const list = results.flatMap((result) => result[name] ?? []).map((x) => scale * x);
    const value = mean(list);
    if (value === undefined) continue;
    values[name] = value;
    const drawn = bootstrap(
      list.length,
      (indices) => ({ value: mean(indices.map((i) => list[i] as number)) }),
      { random: new Random(seed) },
    );
    if (drawn.value) interval[name] = drawn.value;
  }
  return { values, interval };
}

/** A line of the list of dangerous edits. */
export interface Dangerous {
  readonly method: Method;
  readonly case_id: number;
  readonly prompt: string;
  readonly subject: string;
  readonly target_new: string;
  readonly verdict: MethodResult['verdict'];
  readonly cosine: number;
  readonly relative_update: number;
  readonly normalised_update: number;
  readonly entropy?: number;
}

/** All edits that are not `ok`, the largest update first. */
export function dangerousEdits(cases: readonly CaseResult[]): Dangerous[] {
  const list = cases.flatMap(({ case_id, prompt, subject, target_new, methods }) =>
    (Object.entries(methods) as [Method, MethodResult][]).flatMap(([method, result]) => {
      const { verdict, cosine, relative_update, normalised_update, entropy } = result;
      if (verdict === 'ok') return [];
      const numbers = { cosine, relative_update, normalised_update };
      return [
        {
          method,
          case_id,
          prompt,
          subject,
          target_new,
          verdict,
          ...numbers,
          ...(entropy === undefined ? {} : { entropy }),
        },
      ];
    }),
  );
  // NaN first: nothing is larger than a norm that is no number.
  const size = (x: number): number => (Number.isNaN(x) ? Infinity : x);
  return list.sort((a, b) => size(b.relative_update) - size(a.relative_update));
}
