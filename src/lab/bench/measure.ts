/** Times cases: results first, then runs under tinybench, whose durations are the adapter's own timestamps. */
import { Bench } from 'tinybench';
import type { Gpu } from '../../gpu/context.ts';
import { median } from '../../statistics.ts';
import type { BenchCase, Deviation, Prepared } from './family.ts';

export type Timing = Readonly<ReturnType<typeof timingOf>>;

/** @returns `mad`: the median of the distances from the median */
export function timingOf(samples: readonly number[]) {
  const middle = median(samples);
  const mad = median(samples.map((x) => Math.abs(x - middle)));
  return { median: middle, mad, least: Math.min(...samples), samples: samples.length };
}

export interface Measured extends Pick<BenchCase, 'name' | 'shape' | 'flops' | 'bytes'> {
  /** Above a ratio of 1 the kernel is wrong and is not timed. */
  readonly deviation: Deviation;
  /** ms of a run by timestamps; absent where the adapter has none, or the run is a copy between buffers. */
  readonly timestamps?: Timing | undefined;
  /** ms of a run from recording to the end, several runs at a time. */
  readonly wall?: Timing | undefined;
}

/** flops or bytes a second of the median run; NaN where nothing was timed. */
export function rate(m: Measured, of: 'flops' | 'bytes'): number {
  const ms = (m.timestamps ?? m.wall)?.median;
  return ms ? m[of] / (ms / 1000) : NaN;
}

/** A sample lasts at least this, so that waiting for its end does not count. */
const SAMPLE_MS = 8;
const MOST_RUNS = 64;
const LEAST_SAMPLES = 3;
/** ms to spend on a case once it has its samples. */
const CASE_MS = 150;

export interface MeasureOptions {
  readonly ms?: number;
  readonly samples?: number;
  readonly signal?: AbortSignal | undefined;
}

export async function measure(
  gpu: Gpu,
  c: BenchCase,
  { ms = CASE_MS, samples = LEAST_SAMPLES, signal }: MeasureOptions = {},
): Promise<Measured> {
  const { name, shape, flops, bytes } = c;
  return gpu.scope(async (s) => {
    const prepared = await c.prepare(s);
    const deviation = await prepared.check();
    const about = { name, shape, flops, bytes, deviation };
    if (!(deviation.ratio <= 1)) return about;

    const first = await runs(gpu, prepared, 1);
    const count = Math.max(1, Math.min(MOST_RUNS, Math.ceil(SAMPLE_MS / first.wall)));
    const [walls, stamps]: [number[], number[]] = [[], []];
    const bench = new Bench({ time: ms, iterations: samples, warmup: false, throws: true });
    bench.add(name, async () => {
      signal?.throwIfAborted();
      const { wall, timestamps } = await runs(gpu, prepared, count);
      walls.push(wall);
      if (timestamps !== undefined) stamps.push(timestamps);
      return { overriddenDuration: timestamps ?? wall, overriddenIterationCost: wall * count };
    });
    await bench.run();
    return { ...about, wall: timingOf(walls), timestamps: stamps.length > 0 ? timingOf(stamps) : undefined };
  });
}

/**
 * Measures cases one after another up to `end`, by `performance.now()`: each gets its part of what is left, and one that
 * would not fit, by the rate that its rung reached before, is passed over. Without an end, every case gets its time.
 *
 * @returns undefined for a case that was passed over
 */
export async function* measureAll(
  gpu: Gpu,
  cases: readonly BenchCase[],
  { end = Infinity, ...options }: MeasureOptions & { readonly end?: number } = {},
): AsyncGenerator<Measured | undefined, void, void> {
  const reached = new Map<string, number>();
  for (const [i, c] of cases.entries()) {
    options.signal?.throwIfAborted();
    const left = end - performance.now();
    const work = c.flops || c.bytes;
    // A check, a first run and a sample; operands take about as long again.
    const least = (4000 * work) / (reached.get(c.name) ?? Infinity);
    if (left <= 0 || least > left) {
      yield undefined;
      continue;
    }
    const ms = Math.min(options.ms ?? CASE_MS, left / (cases.length - i) / 2);
    const found = await measure(gpu, c, { ...options, ms, samples: end < Infinity ? 1 : LEAST_SAMPLES });
    reached.set(c.name, rate(found, c.flops ? 'flops' : 'bytes'));
    yield found;
  }
}

/**
 * ms of one run, out of `count` in a row.
 *
 * @param only count the timestamps of this kernel alone
 */
export async function runs(gpu: Gpu, prepared: Prepared, count: number, only?: string) {
  const start = performance.now();
  gpu.timer.start();
  for (let i = 0; i < count; i += 1) {
    const s = gpu.open();
    try {
      await prepared.run(s);
    } finally {
      s.close();
    }
  }
  const times = await gpu.times();
  gpu.timer.stop();
  const wall = (performance.now() - start) / count;
  const counted = times.filter(({ kernel }) => only === undefined || kernel === only);
  const sum = counted.reduce((total, { ms }) => total + ms, 0);
  return { wall, timestamps: counted.length > 0 ? sum / count : undefined };
}
