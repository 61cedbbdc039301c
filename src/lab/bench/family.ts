/**
 * What a benchmark is: a family has a ladder of kernels and shapes to run them at; a case is one rung at one shape, with a
 * check of its results against float64.
 */
import type { Gpu } from '../../gpu/context.ts';
import { UsageError } from '../../errors.ts';
import type { Scope } from '../../gpu/scope.ts';
import { read, type Tensor } from '../../tensor/tensor.ts';

/** An op whose operands are on the adapter. */
export interface Prepared {
  /** Records one run; what it makes ends with `s`. */
  readonly run: (s: Scope) => unknown;
  readonly check: () => Promise<Deviation>;
}

/** The element that is worst in units of its bound. Above 1, the kernel is wrong. */
export interface Deviation {
  readonly ratio: number;
  readonly index: number;
  readonly got: number;
  readonly want: number;
  readonly bound: number;
}

export interface BenchCase {
  /** The rung as tables and `--compare` call it, e.g. `matmul_registers`. */
  readonly name: string;
  /** Sizes and storage, e.g. `64,768,3072 f16`. */
  readonly shape: string;
  /** Every kernel that a run dispatches, as `folder/name`; empty for a copy between buffers. */
  readonly kernels: readonly string[];
  /** Useful work of one run. Bytes: each operand once. */
  readonly flops: number;
  readonly bytes: number;
  readonly prepare: (s: Scope) => Prepared | Promise<Prepared>;
}

export type Sizes = readonly number[];

export interface Family {
  readonly name: string;
  readonly title: string;
  /** What the numbers of a shape are, in the order of `--shape`. */
  readonly sizes: readonly string[];
  /** Of `--shape`, where some sizes are refused: what is expected of them. */
  readonly expects?: (sizes: Sizes) => string | undefined;
  readonly shapes: readonly Sizes[];
  /** One shape on this adapter, the fastest rung first. */
  readonly cases: (gpu: Gpu, sizes: Sizes) => readonly BenchCase[];
}

/** All cases of a family, at its own shapes or at one that the user named. */
export function casesOf(family: Family, gpu: Gpu, shape?: Sizes): BenchCase[] {
  return (shape ? [shape] : family.shapes).flatMap((sizes) => family.cases(gpu, sizes));
}

/** `64,768,3072` as the sizes of a family. @throws UsageError saying what they are */
export function parseShape({ name, sizes, shapes, expects }: Family, text: string): Sizes {
  const numbers = text.split(',').map(Number);
  const wrong =
    numbers.length !== sizes.length || !numbers.every((n) => Number.isSafeInteger(n) && n >= 0)
      ? `${sizes.length} whole numbers`
      : expects?.(numbers);
  if (wrong === undefined) return numbers;
  throw new UsageError(
    `--shape: expected ${wrong} for ${name}, ${sizes.join(',')}, found "${text}". Write it like ${shapes[0]?.join(',')}.`,
  );
}

export function shortName(kernel: string): string {
  return kernel.replace(/^.*\//, '');
}

/** Distance of neighbouring float32 numbers around 1. */
const EPS = 2 ** -23;
const SAMPLES = 48;

export interface Bound {
  /** Length of the longest sum behind an element; 0: nothing is computed, and nothing may differ. */
  readonly reduce: number;
  /** Largest magnitude of a term in it. */
  readonly scale: number;
}

/**
 * A case whose runs give `result`, compared with `want`, element by element in float64; `numbersOf` reads what is no tensor.
 *
 * @param want element i of the result in float64; those that came may help to say it
 */
export function prepared<Result>(
  s: Scope,
  run: (s: Scope) => Result,
  want: (i: number, got: ArrayLike<number>) => number,
  bound: Bound,
  numbersOf = async (result: Awaited<Result>): Promise<ArrayLike<number>> => read(s.gpu, result as Tensor),
): Prepared {
  const check = async (): Promise<Deviation> => {
    const got = await numbersOf(await run(s));
    return worstOf(got, (i) => want(i, got), bound);
  };
  return { run, check };
}

/**
 * The element that is furthest from float64, in units of 4 ε √reduce (scale + |want|), the bound that all tests of the
 * engine use; at a sample of places where there are many.
 */
export function worstOf(got: ArrayLike<number>, want: (i: number) => number, { reduce, scale }: Bound) {
  let worst: Deviation = { ratio: 0, index: 0, got: NaN, want: NaN, bound: 0 };
  for (const index of sample(got.length)) {
    const found = { index, got: got[index] ?? NaN, want: want(index) };
    const bound = 4 * EPS * Math.sqrt(reduce) * (scale + Math.abs(found.want));
    const error = Math.abs(found.got - found.want);
    const ratio = error === 0 ? 0 : Number.isNaN(error) ? Infinity : error / bound;
    if (ratio > worst.ratio) worst = { ...found, ratio, bound };
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

/** Those of 11 bits, the same in f32 and f16. */
export function halves(n: number, seed: number): Float32Array<ArrayBuffer> {
  return numbers(n, seed).map((x) => Math.round(x * 1024) / 1024);
}
