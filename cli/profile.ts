/** `--trace`: where the time of a command goes, dispatch by dispatch, on stderr or in a file. */
import type { Gpu } from '../src/gpu/context.ts';
import type { DispatchTime } from '../src/gpu/timing.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { profileOf } from '../src/lab/profile.ts';
import type { ProfileRow } from '../src/lab/profile.ts';
import { giga, ms, percentOf } from './text.ts';
import { table } from './text.ts';
import type { Cell, Column } from './text.ts';
import type { ModelArguments } from './session.ts';
import type { Terminal } from './terminal.ts';

const RIGHT = { align: 'right' } as const;
const HEADS: readonly Column[] = [
  { title: 'kernel' },
  { title: 'shape' },
  { title: 'times', ...RIGHT },
  { title: 'ms', ...RIGHT },
  { title: '%', ...RIGHT },
  { title: 'GFLOP/s', ...RIGHT },
  { title: 'GB/s', ...RIGHT },
];

/** Collects dispatches from when the adapter is opened until `report`. */
export class Profiler {
  readonly #gpu: Gpu;
  readonly #args: ModelArguments;
  readonly #found: DispatchTime[] = [];
  readonly #start = performance.now();

  private constructor(gpu: Gpu, args: ModelArguments) {
    this.#gpu = gpu;
    this.#args = args;
    gpu.timer.start();
  }

  /** undefined when the adapter has no timestamps, which is said. */
  static open(gpu: Gpu, args: ModelArguments, terminal: Terminal): Profiler | undefined {
    if (gpu.timer.available) return new Profiler(gpu, args);
    terminal.warn(`--trace: ${gpu.adapter.description} has no timestamp queries, nothing is traced.`);
    return undefined;
  }

  /** Takes over what has been timed so far, so that a long command does not pile up query buffers. */
  async collect(): Promise<void> {
    for (const time of await this.#gpu.times()) this.#found.push(time);
  }

  async report(terminal: Terminal): Promise<void> {
    await this.collect();
    this.#gpu.timer.stop();
    const wall = performance.now() - this.#start;
    const times = this.#found;
    const { trace, traceAll, traceFile } = this.#args;
    const note = (...lines: string[]): void => lines.forEach((line) => terminal.note(line));
    if (traceAll)
      printProfile(
        times.map((time) => ({ ...time, count: 1 })),
        wall,
        note,
      );
    if (trace) printProfile(profileOf(times), wall, note);
    if (traceFile !== undefined) await writeAtomic(traceFile, lines(times));
    const inside = times.reduce((sum, time) => sum + time.ms, 0);
    terminal.note(
      `trace: ${times.length} dispatches, ${ms(inside)} ms in kernels, ${percentOf(inside, wall)} % of ${ms(wall)} ms since the adapter was opened`,
    );
  }
}

/** One line a row; % is of `whole` ms. */
export function printProfile(
  rows: readonly ProfileRow[],
  whole: number,
  print: (...lines: string[]) => void,
): void {
  const cells = rows.map(({ kernel, shape, count, ms: time, flops, bytes }): Cell[] => [
    kernel,
    shape,
    String(count),
    ms(time),
    percentOf(time, whole),
    flops > 0 ? giga((flops / time) * 1000) : '',
    bytes > 0 ? giga((bytes / time) * 1000) : '',
  ]);
  // A profile has no shapes where a row is all shapes of a kernel.
  const shaped = rows.some(({ shape }) => shape !== '');
  const keep = <T>(list: readonly T[]): T[] => list.filter((_, c) => shaped || c !== 1);
  print(...table(keep(HEADS), cells.map(keep), 80));
}

function lines(times: readonly DispatchTime[]): string {
  const head = 'kernel\tshape\tms\tflops\tbytes\n';
  return (
    head +
    times
      .map(
        ({ kernel, shape, ms: time, flops, bytes }) => `${kernel}\t${shape}\t${time}\t${flops}\t${bytes}\n`,
      )
      .join('')
  );
}
