/** Median and spread of a few timings. */

export interface Timing {
  readonly median: number;
  /** Median of the distances from the median. */
  readonly mad: number;
  readonly least: number;
  readonly samples: number;
}

export function timingOf(samples: readonly number[]): Timing {
  const middle = median(samples);
  return {
    median: middle,
    mad: median(samples.map((x) => Math.abs(x - middle))),
    least: Math.min(...samples),
    samples: samples.length,
  };
}

/** The middle one, or the mean of the two in the middle; NaN of none. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}
