/** `palimpsest bench FAMILY`, `--table` and `--compare`: kernels on their own. */
import { readFile } from 'node:fs/promises';
import { PalimpsestError, UsageError } from '../src/errors.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openGpu, readShader } from '../src/gpu/node.ts';
import type { Family } from '../src/lab/bench/case.ts';
import { comparePair, standsInFor } from '../src/lab/bench/compare.ts';
import type { Variant } from '../src/lab/bench/compare.ts';
import { FAMILIES } from '../src/lab/bench/families.ts';
import { measure } from '../src/lab/bench/measure.ts';
import type { Measured } from '../src/lab/bench/measure.ts';
import type { Roof } from '../src/lab/bench/roof.ts';
import { rungTable } from '../src/lab/bench/rung-table.ts';
import type { ClassWinner } from '../src/lab/bench/rung-table.ts';
import { COMPARED_HEADS, MEASURED_HEADS, comparedRow, giga, measuredRow } from './bench-view.ts';
import type { Run } from './command.ts';
import type { Cell } from './table.ts';

export interface FamilyResult {
  readonly family: string;
  readonly cases: readonly Measured[];
}

/** Measures one family and prints its table. */
export async function benchFamily(
  family: Family,
  gpu: Gpu,
  roof: Roof,
  budget: number,
  run: Run,
): Promise<FamilyResult> {
  const { terminal, signal } = run;
  const cases: Measured[] = [];
  const list = family.cases(gpu);
  const bar = terminal.progress(family.name);
  try {
    for (const c of list) {
      signal.throwIfAborted();
      cases.push(await measure(gpu, c, { budget, signal }));
      bar.update(cases.length, list.length);
    }
  } finally {
    bar.stop();
  }
  terminal.heading(`${family.name}: ${family.title}`);
  terminal.table(
    MEASURED_HEADS,
    cases.map((c) => measuredRow(c, roof)),
  );
  return { family: family.name, cases };
}

/** An error for results that are wrong: of a shader of ours, or of the driver. */
export function wrongResults(families: readonly FamilyResult[]): Error | undefined {
  const wrong = families.flatMap(({ family, cases }) =>
    cases.flatMap((c) =>
      c.error <= 1 ? [] : [`${family} ${c.name} ${c.shape} (${c.error.toPrecision(3)} times its bound)`],
    ),
  );
  if (wrong.length === 0) return undefined;
  return new PalimpsestError(
    `bench: results differ from float64 by more than rounding explains: ${wrong.join(', ')}. Please report it with the output of palimpsest doctor.`,
    'wrong_results',
    1,
  );
}

export async function benchTable(gpu: Gpu, run: Run): Promise<ClassWinner[]> {
  const { terminal, signal } = run;
  terminal.heading('matmul: the fastest rung by storage of b and rows m of a');
  const found: ClassWinner[] = [];
  for await (const winner of rungTable(gpu, { signal })) {
    found.push(winner);
    const { transposeB, dtype, m, rates, chosen, agrees } = winner;
    const rest = rates.map(({ kernel, rate }) => `${kernel.slice('tensor/'.length)} ${giga(rate ?? NaN)}`);
    const mark = agrees ? '' : `   but ${chosen.slice('tensor/'.length)} is taken`;
    terminal.print(
      `${dtype} ${transposeB ? '[n, k]' : '[k, n]'} m = ${String(m).padEnd(4)}  ${rest.join(', ')}${mark}`,
    );
  }
  terminal.print('');
  terminal.say(
    'GFLOP/s, geometric mean over k,n = 768,3072, 3072,768 and 1600,4800, by timestamps where there are some; fastest first. ' +
      'src/tensor/matmul-rungs.ts lists the rungs so that the first that fits is the winner of its class.',
  );
  return found;
}

export interface CompareArguments {
  readonly adapter?: string | undefined;
  readonly compare?: readonly string[] | undefined;
  readonly as?: string | undefined;
}

/** Two variants of one kernel, at all shapes of its family. */
export async function benchCompare(args: CompareArguments, gpu: Gpu, run: Run): Promise<object> {
  const { terminal, signal } = run;
  const [a, b, ...more] = args.compare ?? [];
  if (a === undefined || b === undefined || more.length > 0)
    throw new UsageError(`--compare: expected two .wgsl files, found ${args.compare?.length ?? 0}.`);
  const variants = [await readVariant(a), await readVariant(b)] as const;
  const cases = FAMILIES.flatMap((family) => family.cases(gpu));
  const kernels = new Map(cases.flatMap((c) => c.kernels).map((name) => [name, readShader(name)]));
  const kernel = standsInFor(variants, kernels, args.as);
  terminal.heading(`A ${a}, B ${b}, each in place of ${kernel}`);
  const chosen = cases.filter((c) => c.kernels.includes(kernel));
  const results = [];
  const rows: Cell[][] = [];
  const bar = terminal.progress('compare');
  const open = (variant: Variant): Promise<Gpu> =>
    openGpu(args.adapter, { shader: (name) => (name === kernel ? variant.text : readShader(name)) });
  const sides = [await open(variants[0]), await open(variants[1])] as const;
  try {
    for (const c of chosen) {
      const found = await comparePair(sides, c, kernel, { signal });
      results.push(found);
      rows.push(comparedRow(found));
      bar.update(results.length, chosen.length);
    }
  } finally {
    bar.stop();
    for (const side of sides) side.destroy();
  }
  terminal.table(COMPARED_HEADS, rows);
  terminal.print('');
  terminal.say(
    'A/B: median of the ratios pair by pair, above 1 where B is faster; ± median distance from it.',
    '',
    'dim',
  );
  return { kernel, a, b, results };
}

async function readVariant(path: string): Promise<Variant> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `--compare ${path}: expected a readable .wgsl file, but it cannot be opened (${error.code}).`,
    );
  });
  return { name: path, text };
}
