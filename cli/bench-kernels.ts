/** `palimpsest bench FAMILY`, `--table` and `--compare`: kernels on their own. */
import { readFile } from 'node:fs/promises';
import { GpuError, PalimpsestError, UsageError } from '../src/errors.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openGpu, readShader } from '../src/gpu/node.ts';
import { checkShader, comparePair, findKernel, pairCases, standsInFor } from '../src/lab/bench/compare.ts';
import type { Compared, Roof, Side } from '../src/lab/bench/compare.ts';
import { casesOf, shortName, type Deviation, type Family, type Sizes } from '../src/lab/bench/family.ts';
import { rungTable, type ClassWinner } from '../src/lab/bench/matmul.ts';
import { measureAll, rate, type Measured, type Timing } from '../src/lab/bench/measure.ts';
import { giga, ms, percentOf, plural } from '../src/numerals.ts';
import { left, right, type Column } from '../src/table.ts';
import type { BenchArguments } from './bench.ts';
import type { Run } from './commands.ts';

export const MEASURED_LEGEND =
  'ms: median of a run by timestamps (wall where there are none), ± its median distance from it; wall: from recording ' +
  'to the end; %mm, %cp: of the best matmul and the best copy of this adapter. Results are checked first.';

function measuredColumns(roof: Roof): readonly Column<Measured>[] {
  const time = ({ timestamps, wall }: Measured): Timing | undefined => timestamps ?? wall;
  const flops = (m: Measured): number => (m.flops > 0 ? rate(m, 'flops') : NaN);
  return [
    left('kernel', ({ name }) => name),
    left('shape', ({ shape }) => shape),
    right('ms', (m) => (m.wall ? ms(time(m)?.median ?? NaN) : 'WRONG')),
    right('±', (m) => ms(time(m)?.mad ?? NaN)),
    right('wall', ({ wall }) => ms(wall?.median ?? NaN)),
    right('GFLOP/s', (m) => giga(flops(m))),
    right('GB/s', (m) => giga(rate(m, 'bytes'))),
    right('%mm', (m) => percentOf(flops(m), roof.matmul)),
    right('%cp', (m) => percentOf(rate(m, 'bytes'), roof.copy)),
  ];
}

/** `matmul_1 64,768,3072: element 17 is 3.2, expected 1.1 ± 0.0001 (error 2.1)`. */
function wrong(name: string, shape: string, { index, got, want, bound }: Deviation): string {
  const digits = (x: number): string => String(Number(x.toPrecision(7)));
  const error = Number(Math.abs(got - want).toPrecision(3));
  return `${name} ${shape}: element ${index} is ${digits(got)}, expected ${digits(want)} ± ${Number(bound.toPrecision(2))} (error ${error})`;
}

/** An error for results that are wrong: of a shader, or of the driver. */
export function wrongResults(found: readonly string[]): Error | undefined {
  if (found.length === 0) return undefined;
  const message = `bench: results differ from float64 by more than rounding explains:\n  ${found.join('\n  ')}`;
  return new PalimpsestError(message, 'wrong_results', 1);
}

/** Up to `end`, by `performance.now()`. */
export async function benchFamily(
  family: Family,
  gpu: Gpu,
  roof: Roof,
  { shape, end }: { readonly shape: Sizes | undefined; readonly end: number },
  { terminal, signal }: Run,
) {
  const cases: Measured[] = [];
  const list = casesOf(family, gpu, shape);
  await terminal.watch(family.name, async (update) => {
    let seen = 0;
    for await (const found of measureAll(gpu, list, { end, signal })) {
      if (found) cases.push(found);
      update((seen += 1), list.length);
    }
  });
  terminal.heading(`${family.name}: ${family.title}`);
  terminal.table(cases, measuredColumns(roof));
  const passed_over = list.length - cases.length; // the budget left no time for them
  if (passed_over > 0)
    terminal.print(`The budget left no time for ${plural(passed_over, 'case')} of ${list.length}.`);
  const failed = cases.filter(({ deviation }) => !(deviation.ratio <= 1));
  return {
    ...{ family: family.name, cases, passed_over },
    wrong: failed.map((c) => wrong(c.name, c.shape, c.deviation)),
  };
}

/** `--table`: the fastest rung by class. */
export async function benchTable(gpu: Gpu, end: number, { terminal, signal }: Run): Promise<ClassWinner[]> {
  terminal.heading('matmul: the fastest rung by storage of b and rows m of a');
  const found: ClassWinner[] = [];
  for await (const winner of rungTable(gpu, { signal, end })) {
    found.push(winner);
    const { transposeB, dtype, m, rates, chosen, agrees } = winner;
    const rest = rates.map(({ kernel, rate }) => `${shortName(kernel)} ${giga(rate ?? NaN)}`);
    const mark = agrees ? '' : `   but ${shortName(chosen)} is taken`;
    terminal.print(
      `${dtype} ${transposeB ? '[n, k]' : '[k, n]'} m = ${String(m).padEnd(4)}  ${rest.join(', ')}${mark}`,
    );
  }
  terminal.print('');
  terminal.say(
    'GFLOP/s, geometric mean over k,n = 768,3072, 3072,768 and 1600,4800, by timestamps where there are some; fastest first. ' +
      'src/tensor/matmul-rungs.ts lists the rungs so that the first that fits and suits is the winner of its class.',
  );
  return found;
}

const verdictOf = ({ ratio }: Deviation): string => (ratio <= 1 ? 'right' : 'WRONG');

const COMPARED: readonly Column<Compared>[] = [
  left('shape', ({ shape }) => shape),
  right('A ms', ({ times, deviations: [a] }) => (times ? ms(times.a.median) : verdictOf(a))),
  right('±', ({ times }) => times && ms(times.a.mad)),
  right('B ms', ({ times, deviations: [, b] }) => (times ? ms(times.b.median) : verdictOf(b))),
  right('±', ({ times }) => times && ms(times.b.mad)),
  right('A/B', ({ times }) => times?.ratio.median.toFixed(3)),
  right('±', ({ times }) => times?.ratio.mad.toFixed(3)),
  right('B faster', ({ times }) => times && `${times.wins} of ${times.ratio.samples}`),
];

/** `--compare`: two rungs of a family, or shader files, or one of each, at all shapes that both compute. */
export async function benchCompare(
  args: BenchArguments,
  gpu: Gpu,
  families: readonly Family[],
  { shape, end }: { readonly shape: Sizes | undefined; readonly end: number },
  { terminal, signal }: Run,
): Promise<{ readonly result: object; readonly wrong: readonly string[] }> {
  const [a, b, ...more] = args.compare ?? [];
  if (a === undefined || b === undefined || more.length > 0)
    throw new UsageError(`--compare: expected two rungs or .wgsl files, found ${args.compare?.length ?? 0}.`);
  const names = [...new Set(families.flatMap((one) => casesOf(one, gpu).flatMap((c) => c.kernels)))];
  const sides = [
    await sideOf(gpu, a, names, args.as?.[0]),
    await sideOf(gpu, b, names, args.as?.[1] ?? args.as?.[0]),
  ] as const;
  const pairs = pairCases(gpu, families, sides, shape);
  if (pairs.length === 0)
    throw new UsageError(
      `--compare: ${sides[0].kernel} and ${sides[1].kernel} have no shape in common on this adapter. Choose two of one family.`,
    );
  terminal.heading(`A ${sides[0].label}, B ${sides[1].label}`);
  const results: Compared[] = [];
  const bar = terminal.progress('compare');
  const gpus = [await openSide(args.adapter, sides[0]), await openSide(args.adapter, sides[1])] as const;
  try {
    for (const [i, pair] of pairs.entries()) {
      const now = performance.now();
      if (now > end) break;
      const until = now + (end - now) / (pairs.length - i);
      const kernels = [sides[0].kernel, sides[1].kernel] as const;
      results.push(await comparePair(gpus, pair, kernels, { end: until, signal }));
      bar.update(results.length, pairs.length);
    }
  } catch (error) {
    // Compiled, but no pipeline came of a file: too large a workgroup, say.
    if (error instanceof GpuError && error.code === 'gpu' && sides.some(({ text }) => text !== undefined))
      throw new UsageError(`--compare: ${error.message}`, 'shader', { cause: error });
    throw error;
  } finally {
    bar.stop();
    for (const one of gpus) one.destroy();
  }
  terminal.table(results, COMPARED);
  terminal.print('');
  terminal.say(
    'A/B: median of the ratios pair by pair, above 1 where B is faster; ± median distance from it.',
    '',
    'dim',
  );
  if (results.length < pairs.length)
    terminal.print(`The budget left no time for ${pairs.length - results.length} of ${pairs.length} cases.`);
  const failed = results.flatMap(({ shape: at, deviations }) =>
    deviations.flatMap((found, i) => (found.ratio <= 1 ? [] : [wrong(sides[i as 0 | 1].label, at, found)])),
  );
  const [{ kernel }, { kernel: other }] = sides;
  return { result: { a, b, kernels: [kernel, other], results }, wrong: failed };
}

const openSide = (adapter: string | undefined, { kernel, text }: Side): Promise<Gpu> =>
  openGpu(adapter, { shader: (name) => (name === kernel ? (text ?? readShader(name)) : readShader(name)) });

/** What a word of `--compare` means. */
async function sideOf(gpu: Gpu, word: string, kernels: readonly string[], as: string | undefined) {
  if (!word.endsWith('.wgsl')) return { label: word, kernel: findKernel(word, kernels) };
  const text = await readFile(word, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `--compare ${word}: expected a readable .wgsl file, but it cannot be opened (${error.code}).`,
    );
  });
  await checkShader(gpu, word, text);
  const texts = new Map(kernels.map((name) => [name, readShader(name)]));
  return { label: word, kernel: as ? findKernel(as, kernels) : standsInFor(word, text, texts), text };
}
