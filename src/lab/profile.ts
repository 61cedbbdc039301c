/** Where the time of a command goes (`--trace`): dispatches, or sums of them by kernel and shape. */
import type { Gpu } from '../gpu/context.ts';
import type { DispatchTime } from '../gpu/timing.ts';
import { giga, ms, percentOf } from '../numerals.ts';
import { left, right, table } from '../table.ts';
import { MATMUL } from '../tensor/matmul-rungs.ts';

export interface ProfileRow {
  readonly kernel: string;
  readonly shape: string;
  readonly count: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

/** Rows of one kernel and shape in one, longest first. */
function summed(rows: readonly ProfileRow[]): ProfileRow[] {
  const sums = new Map<string, ProfileRow>();
  for (const row of rows) {
    const key = `${row.kernel} ${row.shape}`;
    const { count, ms, flops, bytes } = sums.get(key) ?? { count: 0, ms: 0, flops: 0, bytes: 0 };
    sums.set(key, {
      ...row,
      count: count + row.count,
      ms: ms + row.ms,
      flops: flops + row.flops,
      bytes: bytes + row.bytes,
    });
  }
  return [...sums.values()].sort((a, b) => b.ms - a.ms);
}

const counted = (times: readonly DispatchTime[]): ProfileRow[] =>
  times.map((time) => ({ ...time, count: 1 }));

/** One row a kernel and shape, longest first. */
export function profileOf(times: readonly DispatchTime[]): ProfileRow[] {
  return summed(counted(times));
}

/** One row a kernel, whatever its shapes, longest first. */
export function byKernel(rows: readonly ProfileRow[]): ProfileRow[] {
  return summed(rows.map((row) => ({ ...row, shape: '' })));
}

const MATMULS = new Set(MATMUL.map(({ kernel }) => kernel));

/** ms in kernels, in the matrix products among them, and their flops a second: 0 without one. */
export function kernelTime(rows: readonly ProfileRow[]) {
  const sum = (list: readonly ProfileRow[], of: 'ms' | 'flops'): number =>
    list.reduce((total, row) => total + row[of], 0);
  const products = rows.filter(({ kernel }) => MATMULS.has(kernel));
  const matmulMs = sum(products, 'ms');
  return {
    ms: sum(rows, 'ms'),
    matmulMs,
    matmulRate: matmulMs > 0 ? sum(products, 'flops') / (matmulMs / 1000) : 0,
  };
}

export type Profiler = ReturnType<typeof profilerOf>;

/** Collects dispatches from now until `report`; undefined when the adapter has no timestamps, which is said. */
export function profilerOf(
  gpu: Gpu,
  { trace, traceAll }: { readonly trace?: boolean | undefined; readonly traceAll?: boolean | undefined },
  terminal: Record<'note' | 'warn', (text: string) => void>,
) {
  if (!gpu.timer.available) {
    terminal.warn(`--trace: ${gpu.adapter.description} has no timestamp queries, nothing is traced.`);
    return undefined;
  }
  gpu.timer.start();
  const times: DispatchTime[] = [];
  const start = performance.now();
  /** Takes over what has been timed so far, so that a long command does not pile up query buffers. */
  const collect = async (): Promise<void> => {
    for (const time of await gpu.times()) times.push(time);
  };
  const report = async (): Promise<void> => {
    await collect();
    gpu.timer.stop();
    const wall = performance.now() - start;
    const note = (...lines: string[]): void => lines.forEach((line) => terminal.note(line));
    if (traceAll) printProfile(counted(times), wall, note);
    if (trace) printProfile(profileOf(times), wall, note);
    const inside = times.reduce((sum, time) => sum + time.ms, 0);
    terminal.note(
      `trace: ${times.length} dispatches, ${ms(inside)} ms in kernels, ${percentOf(inside, wall)} % of ${ms(wall)} ms since the adapter was opened`,
    );
  };
  /** Every dispatch, tab-separated. */
  const lines = (): string => {
    const names = ['kernel', 'shape', 'ms', 'flops', 'bytes'] as const;
    const rows = times.map((time) => names.map((name) => time[name]));
    return [names, ...rows].map((row) => `${row.join('\t')}\n`).join('');
  };
  return { collect, report, lines };
}

/** One line a row; % is of `whole` ms. */
export function printProfile(
  rows: readonly ProfileRow[],
  whole: number,
  print: (...lines: string[]) => void,
): void {
  const second = (of: 'flops' | 'bytes') => (row: ProfileRow) =>
    row[of] > 0 ? giga((row[of] / row.ms) * 1000) : '';
  const shapes = left('shape', ({ shape }: ProfileRow) => shape);
  const columns = [
    left('kernel', ({ kernel }: ProfileRow) => kernel),
    // There are none where a row is all shapes of a kernel.
    ...(rows.some(({ shape }) => shape !== '') ? [shapes] : []),
    right('times', ({ count }: ProfileRow) => count),
    right('ms', (row: ProfileRow) => ms(row.ms)),
    right('%', (row: ProfileRow) => percentOf(row.ms, whole)),
    right('GFLOP/s', second('flops')),
    right('GB/s', second('bytes')),
  ];
  print(...table(rows, columns, 80));
}
