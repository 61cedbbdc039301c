/**
 * Judges an edit before it is kept. Two measures without a scale, so that they mean the same in any model:
 *
 *   cosine           k · u / (|k| |u|): near zero, the update must be huge to have any effect on k
 *   relative update  |u Λᵀ| / |W|
 *
 * An ordinary edit has a cosine of 0.3 to 0.7 and, on an unedited model, a relative update below 1; the disabling
 * edits of the paper lie more than an order of magnitude beyond. The thresholds sit in that gap.
 */
export const VERDICTS = ['ok', 'suspect', 'disabling'] as const;
export type Verdict = (typeof VERDICTS)[number];

export interface Thresholds {
  readonly suspectCosine: number;
  readonly disablingCosine: number;
  readonly suspectUpdate: number;
  readonly disablingUpdate: number;
}

export const THRESHOLDS: Thresholds = {
  suspectCosine: 0.15,
  disablingCosine: 0.05,
  suspectUpdate: 4,
  disablingUpdate: 10,
};

export function judge(cosine: number, relativeUpdate: number, t: Thresholds = THRESHOLDS): Verdict {
  const c = Math.abs(cosine);
  // Written so that NaN, which compares false with everything, is disabling.
  if (!(c >= t.disablingCosine && relativeUpdate <= t.disablingUpdate)) return 'disabling';
  return c < t.suspectCosine || relativeUpdate > t.suspectUpdate ? 'suspect' : 'ok';
}
