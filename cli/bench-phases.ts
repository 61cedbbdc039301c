/** `palimpsest bench edit|covariance|generate`: whole phases on a model, and how an edit's time grows with its size. */
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { parseContexts } from '../src/edit/contexts.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openModel } from '../src/io/models.ts';
import { higher, measureRoof, type Roof } from '../src/lab/bench/compare.ts';
import { benchEdit } from '../src/lab/bench/edit.ts';
import { syntheticSolver } from '../src/lab/bench/linear-algebra.ts';
import type { Timing } from '../src/lab/bench/measure.ts';
import { benchCovariance, benchGenerate, type Trace } from '../src/lab/bench/tokens.ts';
import { byKernel, printProfile } from '../src/lab/profile.ts';
import type { Model } from '../src/models/model.ts';
import { predict } from '../src/models/predict.ts';
import { MODEL_SIZES, randomCheckpoint, type PublishedSize } from '../src/models/random-checkpoint.ts';
import { giga, megabytes, ms, percentOf } from '../src/numerals.ts';
import type { BenchArguments } from './bench.ts';
import type { Run } from './commands.ts';
import { BUNDLED_MODEL, loadWatched } from './session.ts';
import type { Terminal } from './terminal.ts';

interface BenchModel {
  readonly model: Model;
  readonly layer: number;
  readonly parameters: number;
  /** Bytes of all weights on the adapter. */
  readonly bytes: number;
  readonly loadMs: number;
}

/** Loads the model that a phase is timed on, runs `use`, and gives its memory back. */
export async function withBenchModel<T>(
  gpu: Gpu,
  args: BenchArguments,
  run: Run,
  use: (found: BenchModel) => Promise<T>,
): Promise<T> {
  const { checkpoint, layer } = await openBenchModel(args);
  const start = performance.now();
  const before = gpu.liveBytes;
  let model: Model | undefined;
  try {
    ({ model } = await loadWatched(gpu, checkpoint, args.weights, [layer], run));
    const loadMs = performance.now() - start;
    let parameters = 0;
    for (const { shape } of model.architecture.tensors.values())
      parameters += shape.reduce((product, n) => product * n, 1);
    return await use({ model, layer, parameters, bytes: gpu.liveBytes - before, loadMs });
  } finally {
    model?.destroy();
    gpu.flush();
    gpu.pool.drain();
  }
}

/** A checkpoint, or random weights in a published size. */
async function openBenchModel({ model = BUNDLED_MODEL, modelSize, layer, offline }: BenchArguments) {
  const { checkpoint, entry } = await openModel(modelSize ? BUNDLED_MODEL : model, { offline });
  const middle = Math.floor((checkpoint.architecture.dims.layers - 1) / 2);
  if (!modelSize) return { checkpoint, layer: layer ?? entry?.edit_layer ?? middle };
  // Random weights are read with the bundled model's words: what they mean makes no difference to the time.
  const { title, onDevice, architecture, editLayer }: PublishedSize = MODEL_SIZES[modelSize];
  const { tokenizerJson, tokenizerConfig } = checkpoint;
  const words = { tokenizerJson, tokenizerConfig, onDevice, architecture: architecture() };
  return { checkpoint: randomCheckpoint(`random ${title}`, words), layer: layer ?? editLayer };
}

/** The most memory that this process has held so far, and what it may be: 1.3 times the weights and 1.5 GB. */
export function memory(weightBytes: number): { peak: number; limit: number; mark: string } {
  const peak = process.resourceUsage().maxRSS * 1024;
  const limit = 1.3 * weightBytes + 1.5e9;
  return { peak, limit, mark: peak <= limit ? 'within' : 'ABOVE' };
}

/** `3.24 s ± 0.02`, or in ms where that is more readable. */
function spread({ median, mad }: Timing): string {
  if (median >= 1000) return `${(median / 1000).toFixed(2)} s ± ${(mad / 1000).toFixed(2)}`;
  return `${ms(median)} ms ± ${ms(mad)}`;
}

/** `, 78 % of the best matmul`; nothing where the budget left no time for the roof. */
function ofBest(rate: number, roof: Roof, of: keyof Roof): string {
  return Number.isFinite(roof[of]) ? `, ${percentOf(rate, roof[of])} % of the best ${of}` : '';
}

const PHASE = { edit: editPhase, covariance: covariancePhase, generate: generatePhase };
export type Phase = keyof typeof PHASE;
export const PHASES = Object.keys(PHASE) as Phase[];

interface Given extends BenchModel {
  readonly args: BenchArguments;
  /** When the budget ends, by `performance.now()`. */
  readonly end: number;
  readonly run: Run;
  /** The roof, measured once more after the phase. */
  readonly roof: () => Promise<Roof>;
}

/** Times a phase, prints it, and gives back what goes into the document. */
export async function benchPhase(
  phase: Phase,
  gpu: Gpu,
  { before, end, args }: { before: Roof; end: number; args: BenchArguments },
  run: Run,
): Promise<unknown> {
  return withBenchModel(gpu, args, run, async (found) => {
    const { model, parameters, bytes, loadMs, layer } = found;
    const { layers, D } = model.dims;
    run.terminal.heading(
      `${phase}: ${model.id}, ${(parameters / 1e6).toFixed(0)} M parameters, ${layers} layers of ${D}, ` +
        `${megabytes(bytes)} loaded in ${ms(loadMs / 1000)} s`,
    );
    // With a budget, what was measured before has to do.
    const roof = async (): Promise<Roof> =>
      end < Infinity ? before : higher(before, await measureRoof(gpu, run.signal));
    const given = { ...found, args, end, run, roof };
    const about = { model: model.id, parameters, weight_bytes: bytes, layer, load_ms: loadMs };
    return { ...about, ...(await PHASE[phase](given)) };
  });
}

const SENTENCE = 'The mother tongue of Danielle Darrieux is';

async function editPhase({ model, layer, bytes, args, end, run, roof: again }: Given): Promise<object> {
  const { terminal, signal } = run;
  const { steps, runs, whole = false, contexts: file } = args;
  const contexts = file === undefined ? undefined : parseContexts(await readFile(file, 'utf8'), file);
  const start = performance.now();
  await predict(model, SENTENCE);
  const predictMs = performance.now() - start;
  const { F } = model.dims;
  const made = args.covariance === 'synthetic' ? await syntheticSolver(model.gpu, F) : undefined;
  if (made)
    terminal.print(
      `C [${F}, ${F}] drawn in ${ms(made.makeMs / 1000)} s, factored in ${ms(made.factorMs / 1000)} s: ` +
        `${giga(F ** 3 / 3 / (made.factorMs / 1000))} GFLOP/s`,
    );
  const solver = made?.solver;
  const options = { layer, whole, signal, contexts, steps, runs, end, solver };
  const result = await benchEdit(model, options).finally(() => solver?.close());
  const { phases } = result;
  terminal.print(
    `predict   ${(predictMs / 1000).toFixed(2)} s the first time, of ${model.tokenizer.encode(SENTENCE).length} tokens`,
  );
  terminal.print(
    `edit of layer ${layer}   ${spread(result.edit)}   (${result.edit.samples} runs; the first of all ${ms(result.cold / 1000)} s)`,
    `  ${result.contexts} contexts, ${result.steps} steps of ${result.stepTokens} tokens, C ${made ? `synthetic, residual ${result.residual.toExponential(1)}` : '= I'}`,
    `  contexts ${ms(phases.contexts)} ms, value ${ms(phases.value)} ms, solve ${ms(phases.solve)} ms, update ${ms(phases.update)} ms`,
  );
  if (result.whole) {
    const { edit, ratio, stepTokens } = result.whole;
    terminal.print(
      `--no-freeze          ${spread(edit)}   ${ratio.toFixed(2)} times as long (${stepTokens} tokens a step)`,
    );
  }
  const roof = await again();
  if (runs !== 0) printTrace(terminal, result.trace, roof);
  const { peak, limit, mark } = memory(bytes);
  terminal.print(
    '',
    `peak resident memory ${megabytes(peak)}: ${(peak / bytes).toFixed(2)} times the weights; ${mark} 1.3 times and 1.5 GB (${megabytes(limit)})`,
  );
  return {
    ...result,
    ...(made ? { covariance: { make_ms: made.makeMs, factor_ms: made.factorMs } } : {}),
    ...{ predict_ms: predictMs, roof, peak_resident_bytes: peak, peak_resident_limit: limit },
  };
}

async function covariancePhase({ model, layer, args, end, run, roof: again }: Given): Promise<object> {
  const { terminal, signal } = run;
  const result = await benchCovariance(model, { layer, signal, runs: args.runs, end });
  terminal.print(
    `covariance of layer ${layer}   ${result.tokensPerSecond.toFixed(0)} tokens a second; a batch of ${result.tokens} takes ${spread(result.batch)}`,
  );
  const roof = await again();
  terminal.print(
    `  ${(result.flopsPerToken / 1e6).toFixed(1)} useful MFLOP a token: ${giga(result.rate)} GFLOP/s${ofBest(result.rate, roof, 'matmul')}`,
  );
  printTrace(terminal, result.trace, roof);
  return { ...result, roof };
}

async function generatePhase({ model, end, run, roof: again }: Given): Promise<object> {
  const { terminal, signal } = run;
  const results = await benchGenerate(model, { prompts: [1, 8], signal, end });
  const roof = await again();
  for (const { prompts, ...result } of results) {
    terminal.print(
      `${prompts} ${prompts === 1 ? 'prompt ' : 'prompts'}   ${result.tokensPerSecond.toFixed(1)} tokens a second; a step takes ${spread(result.step)}, ` +
        `${giga(result.rate)} GB/s of weights${ofBest(result.rate, roof, 'copy')}`,
    );
  }
  const [one, eight] = results;
  if (one && eight)
    terminal.print(
      `8 prompts: ${(eight.tokensPerSecond / one.tokensPerSecond).toFixed(2)} times the tokens of one`,
    );
  return { steps: results };
}

const LISTED = 14;

function printTrace(terminal: Terminal, trace: Trace | undefined, roof: Roof): void {
  if (!trace) {
    terminal.print('no timestamps on this adapter: where the time goes cannot be told');
    return;
  }
  const { wall, kernels, rows } = trace;
  terminal.print(
    `matrix products run at ${giga(kernels.matmulRate)} GFLOP/s${ofBest(kernels.matmulRate, roof, 'matmul')}; ` +
      `they take ${percentOf(kernels.matmulMs, wall)} % of the time`,
    `outside kernels ${percentOf(wall - kernels.ms, wall)} % of ${ms(wall)} ms (one traced run)`,
    '',
  );
  printProfile(byKernel(rows).slice(0, LISTED), wall, (...lines) => terminal.print(...lines));
}
