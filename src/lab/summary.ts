/** From cases to what people read: a row of percentages a method, the prompts that changed most, the edits that disable. */
import type { Method } from '../edit/method.ts';
import type { CaseResult, MethodResult } from './evaluate.ts';
import { summarise, type Summary } from './metrics.ts';
import type { PromptRow } from './probes.ts';

/** One method over all cases, as `evaluate --json` prints it: percentages, GE × 100, RS × 100, entropy 0 to 1. */
export type MethodSummary = Summary & {
  readonly method: Method | 'before';
  readonly disabling?: number;
  readonly suspect?: number;
};

/** The methods of some case, in the order in which they come. */
export function methodsOf(cases: readonly CaseResult[]): Method[] {
  return [...new Set(resultsOf(cases).map(({ method }) => method))];
}

/** Every result of every case, or of one method. */
export function resultsOf(cases: readonly CaseResult[], only?: Method) {
  return cases.flatMap((one) =>
    (Object.entries(one.methods) as [Method, MethodResult][]).flatMap(([method, result]) =>
      only === undefined || method === only ? [{ case: one, method, result }] : [],
    ),
  );
}

export function summariseMethod(cases: readonly CaseResult[], method: Method, seed: number): MethodSummary {
  const results = resultsOf(cases, method).map(({ result }) => result);
  const measures = results.flatMap(({ metrics, GE, RS, entropy }) =>
    metrics ? [{ ...metrics, GE, RS, entropy }] : [],
  );
  const count = (verdict: string): number => results.filter((result) => result.verdict === verdict).length;
  return {
    ...summarise(measures, seed),
    ...{ n: results.length, method, disabling: count('disabling'), suspect: count('suspect') },
  };
}

/** The unedited model on the same prompts. */
export function summariseBefore(cases: readonly CaseResult[], seed: number): MethodSummary {
  const measures = cases.flatMap(({ before }) => before?.metrics ?? []);
  return { ...summarise(measures, seed), method: 'before' };
}

/**
 * Prompts whose answer is wrong after the edit: neighbours that the true object won before, and rewrites and paraphrases
 * that the new one does not win. The neighbours that lost most come first, then the others, the least likely first.
 *
 * @returns `lost`: log-probability that the answer wanted has lost, the true object of a neighbour, else the new one
 */
export function sideEffects(cases: readonly CaseResult[], method: Method) {
  const found = resultsOf(cases, method).flatMap(({ case: { case_id, before }, result }) =>
    (result.prompts ?? []).flatMap((after, i) => {
      const was = before?.prompts[i];
      if (!was) return [];
      const near = after.kind === 'neighbourhood';
      const wrong = near ? was.won === 'true' && after.won !== 'true' : after.won !== 'target';
      const lost = near ? (was.true_logprob ?? NaN) - (after.true_logprob ?? NaN) : -after.target_logprob;
      return wrong ? [{ case_id, before: was, after, lost }] : [];
    }),
  );
  const near = ({ after }: { after: PromptRow }): number => Number(after.kind === 'neighbourhood');
  return found.sort((a, b) => near(b) - near(a) || size(b.lost) - size(a.lost));
}

/** All edits that are not `ok`, the largest update first. */
export function dangerousEdits(cases: readonly CaseResult[]) {
  const list = resultsOf(cases).flatMap(({ case: one, method, result }) => {
    const { case_id, prompt, subject, target_new } = one;
    const { verdict, cosine, relative_update, normalised_update, entropy } = result;
    const numbers = { verdict, cosine, relative_update, normalised_update, entropy };
    return verdict === 'ok' ? [] : [{ method, case_id, prompt, subject, target_new, ...numbers }];
  });
  return list.sort((a, b) => size(b.relative_update) - size(a.relative_update));
}

/** NaN first: nothing is larger than a norm that is no number. */
function size(x: number): number {
  return Number.isNaN(x) ? Infinity : x;
}
