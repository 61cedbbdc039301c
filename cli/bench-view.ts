/** Benchmarks as tables of 80 columns. */
import type { Compared } from '../src/lab/bench/compare.ts';
import type { Measured } from '../src/lab/bench/measure.ts';
import { rate } from '../src/lab/bench/roof.ts';
import type { Roof } from '../src/lab/bench/roof.ts';
import type { Timing } from '../src/lab/bench/statistics.ts';
import type { Cell, Column } from './table.ts';

const RIGHT = { align: 'right' } as const;

export const MEASURED_HEADS: readonly Column[] = [
  { title: 'kernel' },
  { title: 'shape' },
  { title: 'ms', ...RIGHT },
  { title: '±', ...RIGHT },
  { title: 'wall', ...RIGHT },
  { title: 'GFLOP/s', ...RIGHT },
  { title: 'GB/s', ...RIGHT },
  { title: '%mm', ...RIGHT },
  { title: '%cp', ...RIGHT },
];

/** What the columns mean, for below a table. */
export const MEASURED_LEGEND =
  'ms: median of a run by timestamps (wall where there are none), ± its median distance from it; wall: from recording ' +
  'to the end; %mm, %cp: of the best matmul and the best copy of this adapter. Results are checked first.';

export function measuredRow(m: Measured, roof: Roof): Cell[] {
  if (!m.wall) return [m.name, m.shape, 'WRONG', '', '', '', '', '', ''];
  const timing = m.timestamps ?? m.wall;
  const [flops, bytes] = [rate(m, 'flops'), rate(m, 'bytes')];
  return [
    m.name,
    m.shape,
    ms(timing.median),
    ms(timing.mad),
    ms(m.wall.median),
    m.flops > 0 ? giga(flops) : '',
    giga(bytes),
    m.flops > 0 ? percentOf(flops, roof.matmul) : '',
    percentOf(bytes, roof.copy),
  ];
}

export const COMPARED_HEADS: readonly Column[] = [
  { title: 'shape' },
  { title: 'A ms', ...RIGHT },
  { title: '±', ...RIGHT },
  { title: 'B ms', ...RIGHT },
  { title: '±', ...RIGHT },
  { title: 'A/B', ...RIGHT },
  { title: '±', ...RIGHT },
  { title: 'B faster', ...RIGHT },
];

export function comparedRow(found: Compared | Pick<Compared, 'shape' | 'errors'>): Cell[] {
  if (!('ratio' in found)) {
    const [a, b] = found.errors.map((error) => (error <= 1 ? 'right' : 'WRONG'));
    return [found.shape, a ?? '', '', b ?? '', '', '', '', ''];
  }
  const { shape, a, b, ratio, wins } = found;
  const part = (x: number): string => x.toFixed(3);
  return [
    shape,
    ...[ms(a.median), ms(a.mad), ms(b.median), ms(b.mad)],
    ...[part(ratio.median), part(ratio.mad), `${wins} of ${ratio.samples}`],
  ];
}

export function roofLine({ matmul, copy }: Roof): string {
  return `best matmul ${giga(matmul)} GFLOP/s, best copy ${giga(copy)} GB/s`;
}

/** Three digits. */
export function ms(x: number): string {
  if (!Number.isFinite(x)) return '';
  return x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 1 ? x.toFixed(2) : x.toFixed(3);
}

export function giga(x: number): string {
  const g = x / 1e9;
  if (!Number.isFinite(g)) return '';
  return g >= 100 ? g.toFixed(0) : g >= 0.095 ? g.toFixed(1) : g.toFixed(2);
}

export function percentOf(part: number, whole: number): string {
  return Number.isFinite(part / whole) ? String(Math.round((100 * part) / whole)) : '';
}

/** `3.24 s ± 0.02`, or in ms where that is more readable. */
export function spread({ median, mad }: Timing): string {
  if (median >= 1000) return `${(median / 1000).toFixed(2)} s ± ${(mad / 1000).toFixed(2)}`;
  return `${ms(median)} ms ± ${ms(mad)}`;
}
