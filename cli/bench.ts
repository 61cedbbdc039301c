/** `palimpsest bench [family]`: how fast this adapter runs our shaders, kernel by kernel and phase by phase. */
import { UsageError } from '../src/errors.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openGpu } from '../src/gpu/node.ts';
import { FAMILIES, measureRoof } from '../src/lab/bench/compare.ts';
import { parseShape } from '../src/lab/bench/family.ts';
import type { Family } from '../src/lab/bench/family.ts';
import { MEASURED_LEGEND, benchCompare, benchFamily, benchTable, wrongResults } from './bench-kernels.ts';
import type { CompareArguments, FamilyResult } from './bench-kernels.ts';
import { PHASES, benchPhase, benchScaling } from './bench-phases.ts';
import type { Phase, PhaseArguments } from './bench-phases.ts';
import { command } from './command.ts';
import type { Report, Run } from './command.ts';
import { ADAPTER_FLAGS, choice, files, number, text } from './flags.ts';
import { versions } from '../src/io/version.ts';

const BUDGET_MS = 150;
const SIZES = ['small', 'medium', 'large', 'xl'] as const;

export interface BenchCommand extends PhaseArguments, CompareArguments {
  readonly family?: string | undefined;
  readonly budget?: number | undefined;
  readonly table: boolean;
  readonly scaling: boolean;
  readonly figure?: string | undefined;
}

export const bench = command({
  flags: (yargs) =>
    yargs
      .positional('family', {
        type: 'string',
        describe: `${[...FAMILIES.map(({ name }) => name), ...PHASES].join(', ')} [default: all]`,
      })
      .options({
        'model-size': choice('--model-size', SIZES, 'phases on random weights of this size'),
        model: text('--model', 'phases on this model [default: facts, which is bundled]'),
        weights: choice('--weights', ['f32', 'f16'], 'how matrices are stored on the GPU'),
        layer: number('--layer', 'the layer that is edited', { integer: true, min: 0 }),
        contexts: text('--contexts', 'JSON array of templates for the edit [default: 21 of 4 to 9 tokens]'),
        steps: number('--steps', 'forward passes of the edit at most [default: 20]', {
          integer: true,
          min: 1,
        }),
        runs: number('--runs', 'timed runs of a phase [default: 3]', { integer: true, min: 1 }),
        whole: { type: 'boolean', default: false, describe: 'time the edit with --no-freeze too, in turns' },
        scaling: {
          type: 'boolean',
          default: false,
          describe: 'the edit in all four sizes, and with longer contexts',
        },
        figure: text('--figure', 'with --scaling: write the curves as SVG'),
        table: { type: 'boolean', default: false, describe: 'matmul: which rung wins, by storage and rows' },
        compare: files('--compare', 'two .wgsl files with the interface of one kernel: A and B in turns'),
        as: text('--as', 'with --compare: the kernel they stand in for, as tensor/matmul_tiles'),
        budget: number('--budget', `ms to spend on a case [default: ${BUDGET_MS}]`, { above: 0 }),
        offline: { type: 'boolean', default: false, describe: 'never use the network' },
      })
      .options(ADAPTER_FLAGS)
      .example('$0 bench matmul', 'every matmul rung that this adapter can run')
      .example('$0 bench edit --model-size small', 'one edit of GPT-2 small with random weights'),
  run: (args, run) => runBench(args, run),
});

/** Measures what the arguments name. */
export async function runBench(args: BenchCommand, run: Run): Promise<Report> {
  const { families, phases } = chosen(args);
  const gpu = await openGpu(args.adapter, { verbose: run.terminal.verbose });
  try {
    const { description, kind, backend } = gpu.adapter;
    run.terminal.note(
      `palimpsest: ${description}${kind === 'software' ? ' (software)' : ''}, subgroups of ${gpu.adapter.subgroupSize || 'no fixed size'}`,
    );
    const about = { adapter: { description, kind, backend } };
    const machine = { adapter: gpu.adapter, limits: limitsOf(gpu), versions: versions() };
    if (args.compare)
      return { ...about, result: { ...machine, compare: await benchCompare(args, gpu, run) } };
    if (args.table) return { ...about, result: { ...machine, table: await benchTable(gpu, run) } };
    if (args.scaling)
      return { ...about, result: { ...machine, scaling: await benchScaling(gpu, args, run) } };

    const roof = await measureRoof(gpu, run.signal);
    run.terminal.print(roofLine(roof));
    const measured: FamilyResult[] = [];
    for (const family of families)
      measured.push(await benchFamily(family, gpu, roof, args.budget ?? BUDGET_MS, run));
    if (families.length > 0) {
      run.terminal.print('');
      run.terminal.say(MEASURED_LEGEND, '', 'dim');
    }
    const done: Partial<Record<Phase, unknown>> = {};
    for (const phase of phases) done[phase] = await benchPhase(phase, gpu, roof, args, run);
    const error = wrongResults(measured);
    return {
      ...about,
      result: { ...machine, roof, families: measured, phases: done },
      ...(error ? { error } : {}),
    };
  } finally {
    gpu.destroy();
  }
}

/** @throws UsageError naming what there is */
function chosen({ family: name, compare, table, scaling }: BenchCommand): {
  families: typeof FAMILIES;
  phases: readonly Phase[];
} {
  if (name === undefined) return { families: FAMILIES, phases: PHASES };
  const families = FAMILIES.filter((family) => family.name === name);
  const phases = PHASES.filter((phase) => phase === name);
  const all = [...FAMILIES.map((family) => family.name), ...PHASES];
  if (families.length + phases.length === 0)
    throw new UsageError(`bench: expected one of ${all.join(', ')}, found "${name}".`);
  if (table && name !== 'matmul') throw new UsageError(`--table: expected with matmul, found with ${name}.`);
  if (scaling && name !== 'edit') throw new UsageError(`--scaling: expected with edit, found with ${name}.`);
  if (compare && phases.length > 0)
    throw new UsageError(`--compare: expected with a family of kernels, found with ${name}.`);
  return { families, phases };
}

function limitsOf({ device }: Gpu): Record<string, number> {
  const { limits } = device;
  return {
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    minStorageBufferOffsetAlignment: limits.minStorageBufferOffsetAlignment,
  };
}
