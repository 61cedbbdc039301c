/** All families, the adapter's own best, and two sides of a comparison in turns: what ran in the meantime slows both. */
import { UsageError } from '../../errors.ts';
import type { Gpu } from '../../gpu/context.ts';
import { reflect } from '../../gpu/kernel.ts';
import { attentionFamily } from './attention.ts';
import { casesOf, shortName, type BenchCase, type Family, type Prepared, type Sizes } from './family.ts';
import { choleskyFamily, secondMomentFamily, solveFamily } from './linear-algebra.ts';
import { STORAGES, chosenRung, matmulFamily, productCase } from './matmul.ts';
import { measure, rate, runs, timingOf } from './measure.ts';
import { copyFamily, geluFamily, layernormFamily, unembedFamily } from './rows.ts';

export const FAMILIES: readonly Family[] = [
  matmulFamily,
  attentionFamily,
  unembedFamily,
  secondMomentFamily,
  choleskyFamily,
  solveFamily,
  geluFamily,
  layernormFamily,
  copyFamily,
];

/** What every other number is a part of. */
export interface Roof {
  /** flops a second, the best of the shapes with b stored as f32 [K, N] */
  readonly matmul: number;
  /** bytes a second, read and written, of what no cache holds: 64 MiB to 64 MiB */
  readonly copy: number;
}

/** ms for each case: long enough for what the cores can sustain. A machine that was idle runs faster for a moment. */
const ROOF_MS = 400;

/** Measures both: the chosen matmul rung at every shape, every way to copy. */
export async function measureRoof(gpu: Gpu, signal?: AbortSignal): Promise<Roof> {
  const [storage] = STORAGES as [(typeof STORAGES)[number]];
  const products = matmulFamily.shapes.map((shape) =>
    productCase(shape, storage, { rung: chosenRung(gpu, shape, storage) }),
  );
  const best = async (cases: readonly BenchCase[], of: 'flops' | 'bytes'): Promise<number> => {
    let most = 0;
    for (const c of cases)
      most = Math.max(most, rate(await measure(gpu, c, { ms: ROOF_MS, signal }), of) || 0);
    return most;
  };
  await best(products.slice(0, 1), 'flops'); // uncounted, to warm up
  return { matmul: await best(products, 'flops'), copy: await best(casesOf(copyFamily, gpu, [64]), 'bytes') };
}

/** The better of two measurements: what other programs took in the meantime is not the adapter's. */
export function higher(a: Roof, b: Roof): Roof {
  return { matmul: Math.max(a.matmul, b.matmul), copy: Math.max(a.copy, b.copy) };
}

/** One of two that are compared: a rung of ours, or a shader text that stands in for its kernel. */
export interface Side {
  readonly label: string;
  readonly kernel: string;
  readonly text?: string | undefined;
}

/** The kernel of a rung, by its whole name or without the folder. @throws UsageError naming those that there are */
export function findKernel(name: string, kernels: readonly string[]): string {
  const found = kernels.find((kernel) => kernel === name || shortName(kernel) === name);
  if (found !== undefined) return found;
  throw new UsageError(
    `bench: expected a .wgsl file or one of ${kernels.map(shortName).join(', ')}, found "${name}".`,
  );
}

/**
 * The kernel that a shader text stands in for: the one with the same bindings and Params, and, where several have them, the
 * one that it is named after or the only one that enables the same features.
 *
 * @param name     of the file
 * @param kernels  their texts by name
 * @throws UsageError when there is none, or no way to tell
 */
export function standsInFor(name: string, text: string, kernels: ReadonlyMap<string, string>): string {
  const own = reflect(name, text);
  const same = [...kernels].filter(
    ([kernel, other]) => interfaceOf(kernel, other) === interfaceOf(name, text),
  );
  const names = same.map(([kernel]) => kernel);
  const stem = shortName(name.replaceAll('\\', '/')).replace(/\.wgsl$/, '');
  const called = names.filter((kernel) => stem.startsWith(shortName(kernel)));
  const alike = same.flatMap(([kernel, other]) =>
    reflect(kernel, other).features.join() === own.features.join() ? [kernel] : [],
  );
  const [found, ...others] = called.length > 0 ? called : names.length > 1 ? alike : names;
  if (found !== undefined && others.length === 0) return found;
  throw new UsageError(
    `--compare: expected the bindings and Params of one kernel, ${name} has those of ${names.join(', ') || 'none'}. ` +
      'Say with --as which one it stands in for; its bindings and its grid are used.',
  );
}

function interfaceOf(name: string, text: string): string {
  const { bindings, params } = reflect(name, text);
  const list = bindings.map(({ name, index, kind }) => `${index} ${kind} ${name}`).sort();
  return [...list, ...params.map(({ name, type }) => `${name}: ${type}`)].join('; ');
}

/** Cases of two kernels at the same shape and storage, and of the same work. */
export function pairCases(
  gpu: Gpu,
  families: readonly Family[],
  [a, b]: readonly [Side, Side],
  shape?: Sizes,
): [BenchCase, BenchCase][] {
  return families.flatMap((family) => {
    const cases = casesOf(family, gpu, shape);
    const of = ({ kernel }: Side): BenchCase[] => cases.filter(({ kernels }) => kernels.includes(kernel));
    const others = of(b);
    return of(a).flatMap((one): [BenchCase, BenchCase][] => {
      const other = others.find(
        (c) => c.shape === one.shape && c.flops === one.flops && c.bytes === one.bytes,
      );
      return other ? [[one, other]] : [];
    });
  });
}

export type Compared = Awaited<ReturnType<typeof comparePair>>;

/**
 * Times one case under each side, in turns; whoever goes first changes from pair to pair.
 *
 * @param gpus  adapters that see A's and B's text in place of their kernel
 */
export async function comparePair(
  gpus: readonly [Gpu, Gpu],
  cases: readonly [BenchCase, BenchCase],
  kernels: readonly [string, string],
  options: { pairs?: number; end?: number; signal?: AbortSignal | undefined } = {},
) {
  const { pairs = 9, end = Infinity, signal } = options;
  return gpus[0].scope((s) =>
    gpus[1].scope(async (t) => {
      const both: readonly [Prepared, Prepared] = [await cases[0].prepare(s), await cases[1].prepare(t)];
      const deviations = [await both[0].check(), await both[1].check()] as const;
      const { shape } = cases[0];
      // Where one side's results are wrong, nothing is timed.
      if (!deviations.every(({ ratio }) => ratio <= 1)) return { shape, deviations, times: undefined };
      const time = async (side: 0 | 1, count: number): Promise<number> => {
        const { timestamps, wall } = await runs(gpus[side], both[side], count, kernels[side]);
        return timestamps ?? wall;
      };
      const count = Math.max(1, Math.min(32, Math.ceil(8 / (await time(0, 1)))));
      await time(1, 1);
      const [as, bs]: [number[], number[]] = [[], []];
      for (let pair = 0; pair < pairs && (pair === 0 || performance.now() < end); pair += 1) {
        signal?.throwIfAborted();
        if (pair % 2 === 1) bs.push(await time(1, count));
        as.push(await time(0, count));
        if (pair % 2 === 0) bs.push(await time(1, count));
      }
      // A's time over B's, pair by pair: above 1, B is faster.
      const ratios = as.map((a, i) => a / (bs[i] ?? NaN));
      const wins = ratios.filter((ratio) => ratio > 1).length;
      return {
        ...{ shape, deviations },
        times: { a: timingOf(as), b: timingOf(bs), ratio: timingOf(ratios), wins },
      };
    }),
  );
}

/** The compiler's errors as `FILE:LINE:COLUMN: MESSAGE`. @throws UsageError with all of them */
export async function checkShader(gpu: Gpu, file: string, text: string): Promise<void> {
  gpu.device.pushErrorScope('validation');
  const module = gpu.device.createShaderModule({ label: file, code: text });
  const { messages } = await gpu.wait(module.getCompilationInfo());
  await gpu.wait(gpu.device.popErrorScope());
  const errors = messages.filter(({ type }) => type === 'error');
  if (errors.length > 0)
    throw new UsageError(
      errors.map((m) => `${file}:${m.lineNum}:${m.linePos}: ${m.message}`).join('\n'),
      'shader',
    );
}
