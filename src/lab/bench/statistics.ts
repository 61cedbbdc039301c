/** Median and spread of a few timings. */
import { median } from '../../statistics.ts';

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
