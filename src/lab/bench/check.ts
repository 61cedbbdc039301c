/** Results against float64, at a sample of places where there are too many. */
import type { Gpu } from '../../gpu/context.ts';
import { read } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Distance of neighbouring float32 numbers around 1. */
const EPS = 2 ** -23;
const SAMPLES = 48;

export interface Bound {
  /** Length of the longest sum behind an element. */
  readonly reduce: number;
  /** Largest magnitude of a term in it. */
  readonly scale: number;
}

/**
 * The largest |got − want| in units of 4 ε √reduce (scale + |want|), the bound that all tests of the engine use;
 * Infinity where something is not a number, or differs where nothing is summed (reduce 0).
 *
 * @param want element i of the result in float64
 */
export async function worstError(
  gpu: Gpu,
  result: Tensor,
  want: (i: number) => number,
  { reduce, scale }: Bound,
): Promise<number> {
  const got = await read(gpu, result);
  let worst = 0;
  for (const i of sample(got.length)) {
    const wanted = want(i);
    const bound = 4 * EPS * Math.sqrt(reduce) * (scale + Math.abs(wanted));
    const error = Math.abs((got[i] ?? NaN) - wanted);
    if (error === 0) continue;
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error / bound);
  }
  return worst;
}

/** Places of n: both ends, and others spread by the golden ratio. */
function sample(n: number): number[] {
  if (n <= SAMPLES) return Array.from({ length: n }, (_, i) => i);
  const spread = Array.from({ length: SAMPLES - 2 }, (_, i) => Math.floor(((i * 0.618033988749895) % 1) * n));
  return [0, n - 1, ...spread];
}

/** Numbers on [-1, 1), the same for the same seed. */
export function numbers(n: number, seed: number): Float32Array<ArrayBuffer> {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  const made = new Float32Array(n);
  for (let i = 0; i < n; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made[i] = state / 2 ** 31 - 1;
  }
  return made;
}
