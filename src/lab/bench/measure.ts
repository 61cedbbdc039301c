/** Times one case: its results first, then runs under tinybench, whose durations are the adapter's own timestamps. */
import { Bench } from 'tinybench';
import type { Gpu } from '../../gpu/context.ts';
import type { BenchCase, Prepared } from './case.ts';
import { timingOf } from './statistics.ts';
import type { Timing } from './statistics.ts';

export interface MeasureOptions {
  /** Time to spend on a case, in ms, once it has three samples. */
  readonly budget?: number;
  readonly signal?: AbortSignal;
}

export interface Measured {
  readonly name: string;
  readonly shape: string;
  readonly flops: number;
  readonly bytes: number;
  /** Error in units of its bound; above 1 the kernel is wrong and is not timed. */
  readonly error: number;
  /** ms of a run by timestamps; absent where the adapter has none, or the run is a copy between buffers. */
  readonly timestamps?: Timing;
  /** ms of a run from recording to the end, several runs at a time. */
  readonly wall?: Timing;
}

/** A sample lasts at least this, so that waiting for its end does not count. */
const SAMPLE_MS = 8;
const MOST_RUNS = 64;
const LEAST_SAMPLES = 3;

export async function measure(
  gpu: Gpu,
  c: BenchCase,
  { budget = 150, signal }: MeasureOptions = {},
): Promise<Measured> {
  const { name, shape, flops, bytes } = c;
  return gpu.scope(async (s) => {
    const prepared = await c.prepare(s);
    const error = await prepared.check();
    if (!(error <= 1)) return { name, shape, flops, bytes, error };

    const first = await runs(gpu, prepared, 1);
    const count = Math.max(1, Math.min(MOST_RUNS, Math.ceil(SAMPLE_MS / first.wall)));
    const walls: number[] = [];
    const stamps: number[] = [];
    const bench = new Bench({ time: budget, iterations: LEAST_SAMPLES, warmup: false, throws: true });
    bench.add(name, async () => {
      signal?.throwIfAborted();
      const { wall, timestamps } = await runs(gpu, prepared, count);
      walls.push(wall);
      if (timestamps !== undefined) stamps.push(timestamps);
      return { overriddenDuration: timestamps ?? wall, overriddenIterationCost: wall * count };
    });
    await bench.run();
    const wall = timingOf(walls);
    return {
      ...{ name, shape, flops, bytes, error, wall },
      ...(stamps.length > 0 ? { timestamps: timingOf(stamps) } : {}),
    };
  });
}

export interface RunTime {
  readonly wall: number;
  readonly timestamps?: number;
}

/**
 * ms of one run, out of `count` in a row.
 *
 * @param only count the timestamps of this kernel alone
 */
export async function runs(gpu: Gpu, prepared: Prepared, count: number, only?: string): Promise<RunTime> {
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
  if (counted.length === 0) return { wall };
  return { wall, timestamps: counted.reduce((sum, { ms }) => sum + ms, 0) / count };
}
