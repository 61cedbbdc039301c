/** Two variants of one kernel, A and B, run in turns on the same operands. */
import { UsageError } from '../../errors.ts';
import type { Gpu } from '../../gpu/context.ts';
import { reflect } from '../../gpu/kernel.ts';
import type { Reflection } from '../../gpu/kernel.ts';
import type { BenchCase, Prepared } from './case.ts';
import { runs } from './measure.ts';
import { timingOf } from './statistics.ts';
import type { Timing } from './statistics.ts';

/** A shader text that stands in for a kernel of ours. */
export interface Variant {
  readonly name: string;
  readonly text: string;
}

/**
 * The kernel that both variants can stand in for: the one with the same bindings and Params, and, where several have
 * them, the one that A is named after or the only one that enables the same features.
 *
 * @param wanted  the kernel's name where the user gave it
 * @throws UsageError when there is none, or no way to tell
 */
export function standsInFor(
  variants: readonly [Variant, Variant],
  kernels: ReadonlyMap<string, string>,
  wanted?: string,
): string {
  const [a, b] = variants.map(({ name, text }) => reflect(name, text)) as [Reflection, Reflection];
  if (interfaceOf(a) !== interfaceOf(b))
    throw new UsageError(
      `--compare: ${variants[0].name} and ${variants[1].name} differ in bindings or Params. Give them the same ones.`,
    );
  const same = [...kernels].filter(([name, text]) => interfaceOf(reflect(name, text)) === interfaceOf(a));
  const names = same.map(([name]) => name);
  if (wanted !== undefined) {
    if (names.includes(wanted)) return wanted;
    throw new UsageError(
      `--as ${wanted}: expected a kernel with the bindings and Params of ${variants[0].name}, one of ${names.join(', ') || 'none'}.`,
    );
  }
  const stem = variants[0].name.replace(/^.*[\\/]/, '').replace(/\.wgsl$/, '');
  const called = names.filter((name) => stem.startsWith(name.slice(name.indexOf('/') + 1)));
  const alike = same.flatMap(([name, text]) =>
    reflect(name, text).features.join() === a.features.join() ? [name] : [],
  );
  const [found, ...others] = called.length > 0 ? called : names.length > 1 ? alike : names;
  if (found !== undefined && others.length === 0) return found;
  throw new UsageError(
    `--compare: expected the bindings and Params of one kernel, ${variants[0].name} has those of ${names.join(', ') || 'none'}. ` +
      (names.length > 0
        ? 'Say with --as which one it stands in for; its grid is used.'
        : 'Start from one of shaders/.'),
  );
}

function interfaceOf({ bindings, params }: Reflection): string {
  const list = bindings.map(({ name, index, kind }) => `${index} ${kind} ${name}`).sort();
  return [...list, ...params.map(({ name, type }) => `${name}: ${type}`)].join('; ');
}

export interface Compared {
  readonly shape: string;
  readonly flops: number;
  /** Errors in units of their bound. */
  readonly errors: readonly [number, number];
  readonly a: Timing;
  readonly b: Timing;
  /** A's time over B's, pair by pair: above 1, B is faster. */
  readonly ratio: Timing;
  /** Pairs in which B was faster. */
  readonly wins: number;
}

/**
 * Times a case under both variants, in turns; whoever goes first changes from pair to pair.
 *
 * @param sides  adapters that see A's and B's text in place of the kernel
 * @returns undefined when a variant's results are wrong: `errors` says whose
 */
export async function comparePair(
  sides: readonly [Gpu, Gpu],
  c: BenchCase,
  kernel: string,
  { pairs = 9, signal }: { pairs?: number; signal?: AbortSignal } = {},
): Promise<Compared | Pick<Compared, 'shape' | 'errors'>> {
  const [left, right] = sides;
  return left.scope((s) =>
    right.scope(async (t) => {
      const both: readonly [Prepared, Prepared] = [await c.prepare(s), await c.prepare(t)];
      const errors = [await both[0].check(), await both[1].check()] as const;
      if (!errors.every((error) => error <= 1)) return { shape: c.shape, errors };
      const time = async (side: 0 | 1, count: number): Promise<number> => {
        const { timestamps, wall } = await runs(sides[side], both[side], count, kernel);
        return timestamps ?? wall;
      };
      const count = Math.max(1, Math.min(32, Math.ceil(8 / (await time(0, 1)))));
      await time(1, 1);
      const [as, bs]: [number[], number[]] = [[], []];
      for (let pair = 0; pair < pairs; pair += 1) {
        signal?.throwIfAborted();
        if (pair % 2 === 1) bs.push(await time(1, count));
        as.push(await time(0, count));
        if (pair % 2 === 0) bs.push(await time(1, count));
      }
      const ratios = as.map((a, i) => a / (bs[i] ?? NaN));
      return {
        ...{ shape: c.shape, flops: c.flops, errors },
        ...{ a: timingOf(as), b: timingOf(bs), ratio: timingOf(ratios) },
        wins: ratios.filter((ratio) => ratio > 1).length,
      };
    }),
  );
}
