/** What a benchmark is: one op at one shape, with a check of its results against float64. */
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';

/** An op whose operands are on the adapter. */
export interface Prepared {
  /** Records one run; what it makes ends with `s`. */
  readonly run: (s: Scope) => unknown;
  /** Runs once and compares: the largest error in units of its bound. At most 1, or the kernel is wrong. */
  readonly check: () => Promise<number>;
}

export interface BenchCase {
  /** What the table calls it, e.g. `matmul_tiles`. */
  readonly name: string;
  /** Sizes and storage, e.g. `64,768,3072 f16`. */
  readonly shape: string;
  /** Every kernel that a run dispatches, as `family/name`; empty for a copy between buffers. */
  readonly kernels: readonly string[];
  /** Useful work of one run. Bytes: each operand once. */
  readonly flops: number;
  readonly bytes: number;
  /** Puts operands into `s`. */
  readonly prepare: (s: Scope) => Prepared | Promise<Prepared>;
}

/** A family of benchmarks: its cases on this adapter, from the definition to the fastest rung. */
export interface Family {
  readonly name: string;
  readonly title: string;
  readonly cases: (gpu: Gpu) => readonly BenchCase[];
}
