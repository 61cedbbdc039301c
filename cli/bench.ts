/** `palimpsest bench [family]`: how fast this adapter runs our shaders, kernel by kernel and phase by phase. */
import { UsageError } from '../src/errors.ts';
import { limitsOf } from '../src/gpu/adapter-info.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openGpu } from '../src/gpu/node.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { versions } from '../src/io/file.ts';
import { FAMILIES, measureRoof, type Roof } from '../src/lab/bench/compare.ts';
import { benchEdit, contextsOfLength, scalingFigure, type Point } from '../src/lab/bench/edit.ts';
import { parseShape, type Family } from '../src/lab/bench/family.ts';
import { svgOf } from '../src/lab/report/theme.ts';
import { MODEL_SIZES, type ModelSize } from '../src/models/random-checkpoint.ts';
import { giga, megabytes } from '../src/numerals.ts';
import { MEASURED_LEGEND, benchCompare, benchFamily, benchTable, wrongResults } from './bench-kernels.ts';
import { PHASES, benchPhase, memory, withBenchModel, type Phase } from './bench-phases.ts';
import { command, type Report, type Run } from './commands.ts';
import { KINDS } from './files.ts';
import {
  ADAPTER_FLAGS,
  WEIGHTS,
  choice,
  files,
  flag,
  input,
  output,
  positive,
  text,
  whole,
} from './flags.ts';
import type { Given } from './flags.ts';
import { aboutAdapter, adapterSection, adapterName } from './session.ts';

const SIZES = Object.keys(MODEL_SIZES) as ModelSize[];

const OWN_FLAGS = {
  'model-size': choice(SIZES, 'phases on random weights of this size'),
  model: text('phases on this model [default: facts, which is bundled]'),
  weights: WEIGHTS,
  layer: whole('the layer that is edited', 0),
  contexts: input('JSON array of templates for the edit [default: 21 of 4 to 9 tokens]'),
  covariance: choice(
    ['identity', 'synthetic'],
    'of the edit; synthetic: drawn on the device, and factored [default: identity]',
  ),
  steps: whole('forward passes of the edit at most [default: 20]', 1),
  runs: whole('timed runs of a phase; 0: the first alone [default: 3]', 0),
  whole: flag('time the edit with --no-freeze too, in turns'),
  scaling: flag('the edit in all four sizes, and with longer contexts'),
  figure: output('with --scaling: write the curves as SVG', KINDS.figure),
  table: flag('matmul: which rung wins, by storage and rows'),
  compare: files('two rungs of a family or .wgsl files: A and B in turns'),
  as: files('with --compare: the kernel that files stand in for, as matmul_registers; one, or one each'),
  shape: text('sizes instead of those of the family, e.g. M,K,N for matmul'),
  budget: positive('seconds that the command may take; what does not fit is passed over'),
  offline: flag('never use the network'),
  ...ADAPTER_FLAGS,
} as const;

const FAMILY = {
  type: 'string',
  describe: `${[...FAMILIES.map(({ name }) => name), ...PHASES].join(', ')} [default: all]`,
} as const;

export type BenchArguments = Given<typeof OWN_FLAGS & { readonly family: typeof FAMILY }>;

export const bench = command({
  positionals: { family: FAMILY },
  flags: OWN_FLAGS,
  examples: {
    '$0 bench matmul': 'every matmul rung that this adapter can run',
    '$0 bench matmul --shape 1,768,3072 --budget 5': 'one shape, in five seconds',
    '$0 bench copy --compare copy_1 copy_quads': 'two rungs in turns',
    '$0 bench edit --model-size small': 'one edit of GPT-2 small with random weights',
  },
  run: runBench,
});

/** Seconds: the roof takes about a third of it. With a smaller budget nothing is told as a part of the roof. */
const ROOF_BUDGET = 30;
const NO_ROOF: Roof = { matmul: NaN, copy: NaN };

async function runBench(args: BenchArguments, run: Run): Promise<Report> {
  const { families, phases } = chosen(args);
  const end = performance.now() + (args.budget ?? Infinity) * 1000;
  const shape = args.shape === undefined ? undefined : shapeOf(args.shape, families);
  const gpu = await openGpu(args.adapter, { verbose: run.terminal.verbose });
  try {
    run.terminal.note(
      `palimpsest: ${adapterName(gpu.adapter)}, subgroups of ${gpu.adapter.subgroupSize || 'no fixed size'}`,
    );
    const machine = { adapter: adapterSection(gpu), limits: limitsOf(gpu.device), versions: versions() };
    const report = (result: object, wrong: readonly string[] = []): Report => ({
      adapter: aboutAdapter(gpu),
      result: { ...machine, ...result },
      error: wrongResults(wrong),
    });
    /** When the budget ends for the next of `parts` that are equal. */
    const endOf = (parts: number): number => performance.now() + (end - performance.now()) / parts;

    if (args.compare) {
      const { result, wrong } = await benchCompare(args, gpu, families, { shape, end }, run);
      return report({ compare: result }, wrong);
    }
    if (args.table) return report({ table: await benchTable(gpu, end, run) });
    if (args.scaling) return report({ scaling: await benchScaling(gpu, args, run) });

    const roof = (args.budget ?? Infinity) < ROOF_BUDGET ? NO_ROOF : await measureRoof(gpu, run.signal);
    if (roof !== NO_ROOF)
      run.terminal.print(`best matmul ${giga(roof.matmul)} GFLOP/s, best copy ${giga(roof.copy)} GB/s`);
    const measured: Awaited<ReturnType<typeof benchFamily>>[] = [];
    const parts = families.length + phases.length;
    for (const family of families) {
      const extent = { shape, end: endOf(parts - measured.length) };
      measured.push(await benchFamily(family, gpu, roof, extent, run));
    }
    if (families.length > 0) {
      run.terminal.print('');
      run.terminal.say(MEASURED_LEGEND, '', 'dim');
    }
    const done: Partial<Record<Phase, unknown>> = {};
    for (const [i, phase] of phases.entries()) {
      const given = { before: roof, end: endOf(phases.length - i), args };
      done[phase] = await benchPhase(phase, gpu, given, run);
    }
    return report(
      { roof, families: measured, phases: done },
      measured.flatMap(({ wrong }) => wrong),
    );
  } finally {
    gpu.destroy();
  }
}

/** @throws UsageError where no single family is named */
function shapeOf(text: string, families: readonly Family[]): readonly number[] {
  const [family, ...more] = families;
  if (family && more.length === 0) return parseShape(family, text);
  throw new UsageError(
    `--shape: expected a family of kernels that it is for, e.g. bench matmul --shape ${text}.`,
  );
}

/** @throws UsageError naming what there is */
function chosen({ family: name, compare, table, scaling, covariance }: BenchArguments) {
  if (name === undefined) return { families: FAMILIES, phases: PHASES };
  const families = FAMILIES.filter((family) => family.name === name);
  const phases = PHASES.filter((phase) => phase === name);
  const all = [...FAMILIES.map((family) => family.name), ...PHASES];
  if (families.length + phases.length === 0)
    throw new UsageError(`bench: expected one of ${all.join(', ')}, found "${name}".`);
  const misplaced = (flag: string, place: string): UsageError =>
    new UsageError(`--${flag}: expected with ${place}, found with ${name}.`);
  if (table && name !== 'matmul') throw misplaced('table', 'matmul');
  if (covariance && name !== 'edit') throw misplaced('covariance', 'edit');
  if (scaling && name !== 'edit') throw misplaced('scaling', 'edit');
  if (compare && phases.length > 0) throw misplaced('compare', 'a family of kernels');
  return { families, phases };
}

const SCALED: readonly ModelSize[] = ['small', 'medium', 'large', 'xl'];
/** Tokens of a context, and the model that they are tried on. */
const LENGTHS = [4, 16, 64, 256] as const;
const LENGTH_SIZE: ModelSize = 'small';
const CONTEXTS = 21;

/** `--scaling`: how the time of an edit grows with the model and with the contexts; with `--model-size`, that size alone. */
async function benchScaling(gpu: Gpu, args: BenchArguments, run: Run): Promise<object> {
  const { terminal, signal } = run;
  const sizes: (Point & { parameters: number; peak: number })[] = [];
  const options = { signal, steps: args.steps, trace: false };
  terminal.heading(`an edit with ${CONTEXTS} contexts, C = I, by model size (random weights)`);
  for (const size of SCALED.filter((name) => name === (args.modelSize ?? name)))
    await withBenchModel(gpu, { ...args, modelSize: size }, run, async (found) => {
      // Beside minutes, what the first edit compiles does not count.
      const runs = size === 'small' || size === 'medium' ? 1 : 0;
      const { edit, steps } = await benchEdit(found.model, { ...options, runs, layer: found.layer });
      const seconds = edit.median / 1000;
      const { parameters, bytes } = found;
      const { peak, mark } = memory(bytes);
      sizes.push({ size, parameters, seconds, peak });
      terminal.print(
        `${size.padEnd(7)} ${(parameters / 1e6).toFixed(0).padStart(5)} M   ${seconds.toFixed(2).padStart(7)} s   ${steps} steps   ` +
          `loaded in ${(found.loadMs / 1000).toFixed(1)} s   peak ${megabytes(peak)}${mark === 'ABOVE' ? ' ABOVE 1.3 times and 1.5 GB' : ''}`,
      );
    });
  const lengths: (Point & { tokens: number })[] = [];
  if (args.modelSize === undefined) {
    // Only what runs once grows with the contexts, but for the attention of each step.
    terminal.heading(`GPT-2 ${LENGTH_SIZE} by tokens of a context`);
    await withBenchModel(gpu, { ...args, modelSize: LENGTH_SIZE }, run, async ({ model, layer }) => {
      for (const tokens of LENGTHS) {
        const contexts = contextsOfLength(tokens, CONTEXTS);
        const runs = tokens === LENGTHS[0] ? 1 : 0; // the others find everything compiled
        const { edit, phases } = await benchEdit(model, { ...options, runs, layer, contexts });
        const seconds = edit.median / 1000;
        lengths.push({ size: LENGTH_SIZE, tokens, seconds });
        terminal.print(
          `${String(tokens).padStart(4)} tokens   ${seconds.toFixed(2).padStart(7)} s   of these ${(phases.contexts / 1000).toFixed(2)} s for what is computed once`,
        );
      }
    });
  }
  if (args.figure !== undefined) {
    const title = `r-ROME edit, ${CONTEXTS} contexts, ${gpu.adapter.description}`;
    const svg = await svgOf(scalingFigure(title, sizes, lengths));
    await writeAtomic(args.figure, `<!-- palimpsest bench edit --scaling -->\n${svg}`);
    terminal.print('', `Wrote ${args.figure}`);
  }
  return { sizes, lengths };
}
