/** Dispatches summed by what they are: kernel and shape. */
import type { DispatchTime } from '../gpu/timing.ts';
import { MATMUL } from '../tensor/matmul-rungs.ts';

export interface ProfileRow {
  readonly kernel: string;
  readonly shape: string;
  readonly count: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

/** One row a kernel and shape, longest first. */
export function profileOf(times: readonly DispatchTime[]): ProfileRow[] {
  const rows = new Map<string, ProfileRow>();
  for (const { kernel, shape, ms, flops, bytes } of times) {
    const key = `${kernel} ${shape}`;
    const row = rows.get(key) ?? { kernel, shape, count: 0, ms: 0, flops: 0, bytes: 0 };
    rows.set(key, {
      ...{ kernel, shape },
      count: row.count + 1,
      ms: row.ms + ms,
      flops: row.flops + flops,
      bytes: row.bytes + bytes,
    });
  }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}

/** One row a kernel, whatever its shapes, longest first. */
export function byKernel(rows: readonly ProfileRow[]): ProfileRow[] {
  const sums = new Map<string, ProfileRow>();
  for (const row of rows) {
    const sum = sums.get(row.kernel) ?? {
      kernel: row.kernel,
      shape: '',
      count: 0,
      ms: 0,
      flops: 0,
      bytes: 0,
    };
    sums.set(row.kernel, {
      ...sum,
      count: sum.count + row.count,
      ms: sum.ms + row.ms,
      flops: sum.flops + row.flops,
      bytes: sum.bytes + row.bytes,
    });
  }
  return [...sums.values()].sort((a, b) => b.ms - a.ms);
}

/** Time in kernels, and how fast the matrix products among them were. */
export interface KernelTime {
  readonly ms: number;
  readonly matmulMs: number;
  /** flops a second, 0 without a matrix product */
  readonly matmulRate: number;
}

const MATMULS = new Set(MATMUL.map(({ kernel }) => kernel));

export function kernelTime(rows: readonly ProfileRow[]): KernelTime {
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
