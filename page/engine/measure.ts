/** The matmul ladder and the copy on the visitor's adapter, and a shader of the visitor's beside the rung in use. */
import type { Gpu } from '../../src/gpu/context.ts';
import { PalimpsestError } from '../../src/errors.ts';
import { FAMILIES, pairCases, comparePair } from '../../src/lab/bench/compare.ts';
import { casesOf, shortName } from '../../src/lab/bench/family.ts';
import type { BenchCase, Family, Sizes } from '../../src/lab/bench/family.ts';
import { STORAGES, chosenRung, productCase } from '../../src/lab/bench/matmul.ts';
import { measure, rate } from '../../src/lab/bench/measure.ts';
import { MATMUL } from '../../src/tensor/matmul-rungs.ts';
import { nameOf } from '../../src/gpu/rung.ts';
import type { Measurement, ShaderFault, ShaderResult } from './protocol.ts';
import { shaderText } from './shaders.ts';

/** An MLP of GPT-2 small and a square; on software adapters, which are a hundred times slower, a small product. */
const LADDER: Readonly<Record<Gpu['adapter']['kind'], readonly Sizes[]>> = {
  gpu: [
    [64, 768, 3072],
    [1024, 1024, 1024],
  ],
  software: [[64, 768, 768]],
};
const MEASURE = { ms: 120, samples: 3 };
/** Rungs that would take longer than this, ms, are left out. */
const PATIENCE = 4000;

export async function measureLadder(
  gpu: Gpu,
  on: (found: Measurement, done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const [storage] = STORAGES as [(typeof STORAGES)[number]];
  const cases = LADDER[gpu.adapter.kind].flatMap((shape): Case[] => {
    const [m = 0, k = 0, n = 0] = shape;
    const product = { m, k, n, ...storage, aStride: k, aFirst: 0, strips: true };
    const chosen = nameOf(chosenRung(gpu, shape, storage));
    return MATMUL.filter((rung) => rung.fits(product, gpu.adapter)).map((rung) => ({
      family: 'matmul',
      of: 'flops',
      case: productCase(shape, storage, { rung }),
      chosen: nameOf(rung) === chosen,
    }));
  });
  const copies = FAMILIES.filter(({ name }) => name === 'copy').flatMap((family) =>
    casesOf(family, gpu, [gpu.adapter.kind === 'gpu' ? 64 : 16]).map((one): Case => ({
      family: 'copy',
      of: 'bytes',
      case: one,
      chosen: false,
    })),
  );
  const all = [...cases, ...copies];
  let slowest = 0;
  for (const [i, { family, of, case: one, chosen }] of all.entries()) {
    signal?.throwIfAborted();
    const skip = one.name === 'matmul_1' && slowest > PATIENCE;
    if (skip) continue;
    const found = await measure(gpu, one, { ...MEASURE, signal });
    const ms = (found.timestamps ?? found.wall)?.median ?? NaN;
    slowest = Math.max(slowest, ms || 0);
    on({ family, name: one.name, shape: one.shape, ms, rate: rate(found, of), chosen }, i + 1, all.length);
  }
}

interface Case {
  readonly family: Measurement['family'];
  readonly of: 'flops' | 'bytes';
  readonly case: BenchCase;
  readonly chosen: boolean;
}

/** One shape of each family that a visitor's shader is tried at: small enough for any adapter. */
const SHAPES: Readonly<Record<string, Sizes>> = {
  matmul: [64, 768, 3072],
  attention: [22, 0, 20],
  gelu: [64, 3072],
  layernorm: [64, 768],
  copy: [16],
};

const tried: readonly Family[] = FAMILIES.filter(({ name }) => name in SHAPES);

/** Kernels that can be changed on this adapter: those of the families above. */
export function changeable(gpu: Gpu): string[] {
  const names = tried.flatMap((family) =>
    casesOf(family, gpu, SHAPES[family.name]).flatMap(({ kernels }) => kernels),
  );
  return [...new Set(names)];
}

type Open = (shader: (name: string) => string) => Promise<Gpu>;

/** Compiles a text in place of a kernel, checks it against float64, and times it beside the rung that the engine takes. */
export async function tryShader(
  open: Open,
  kernel: string,
  text: string,
  signal?: AbortSignal,
): Promise<ShaderResult> {
  const theirs = await open(shaderText);
  let mine: Gpu | undefined;
  try {
    const faults = await faultsOf(theirs, kernel, text);
    if (faults.length > 0) return { kind: 'faults', faults };
    mine = await open((name) => (name === kernel ? text : shaderText(name)));
    const gpus = [mine, theirs] as const;
    const family = tried.find((one) =>
      casesOf(one, theirs, SHAPES[one.name]).some(({ kernels }) => kernels.includes(kernel)),
    );
    if (!family) throw new PalimpsestError(`${kernel} does not run on this adapter.`, 'usage', 2);
    const shape = SHAPES[family.name];
    const cases = casesOf(family, theirs, shape);
    const own = cases.find(({ kernels }) => kernels.includes(kernel)) as BenchCase;
    // The fastest that fits and does the same work: cases come in the order of the ladder.
    const rung = cases.find(
      (one) => one.shape === own.shape && one.flops === own.flops && one.bytes === own.bytes,
    ) as BenchCase;
    const [itsKernel = kernel] = rung.kernels;
    const [pair] = pairCases(
      theirs,
      [family],
      [
        { label: 'mine', kernel, text },
        { label: 'its', kernel: itsKernel },
      ],
      shape,
    );
    if (!pair) throw new PalimpsestError(`${kernel} has no case to compare.`, 'usage', 2);
    const found = await comparePair(gpus, pair, [kernel, itsKernel], { pairs: 5, signal });
    const [deviation] = found.deviations;
    if (!found.times) return { kind: 'wrong', shape: found.shape, ...deviation };
    const { a, b, ratio } = found.times;
    return {
      kind: 'right',
      shape: `${family.name} ${found.shape}`,
      rung: shortName(itsKernel),
      mine: a.median,
      its: b.median,
      ratio: 1 / ratio.median,
      deviation: deviation.ratio,
    };
  } catch (error) {
    // Compiled, but no pipeline came of it: too large a workgroup, say. Or it left the dialect that is reflected.
    const message = error instanceof Error ? error.message : String(error);
    if (!signal?.aborted && message.includes(kernel))
      return { kind: 'faults', faults: [{ line: lineIn(message), column: 1, message }] };
    throw error;
  } finally {
    mine?.destroy();
    theirs.destroy();
  }
}

/** What the compiler finds wrong. */
async function faultsOf({ device }: Gpu, kernel: string, text: string): Promise<ShaderFault[]> {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label: kernel, code: text });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();
  return messages
    .filter(({ type }) => type === 'error')
    .map(({ lineNum, linePos, message }) => ({ line: lineNum, column: linePos, message }));
}

function lineIn(message: string): number {
  return Number(/\.wgsl:(\d+)/.exec(message)?.[1] ?? 1);
}
