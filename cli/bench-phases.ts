/** `palimpsest bench edit|covariance|generate`: whole phases on a model. */
import { readFile } from 'node:fs/promises';
import { parseContexts } from '../src/edit/contexts.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { benchCovariance } from '../src/lab/bench/covariance.ts';
import { benchEdit } from '../src/lab/bench/edit.ts';
import { benchGenerate } from '../src/lab/bench/generate.ts';
import { higher, measureRoof } from '../src/lab/bench/roof.ts';
import type { Roof } from '../src/lab/bench/roof.ts';
import { byKernel } from '../src/lab/profile.ts';
import type { KernelTime, ProfileRow } from '../src/lab/profile.ts';
import { peakResident, residentLimit, withBenchModel } from './bench-model.ts';
import type { BenchModel, BenchModelArguments } from './bench-model.ts';
import { giga, ms, percentOf, spread } from './bench-view.ts';
import type { Run } from './command.ts';
import { megabytes } from './text.ts';
import type { Terminal } from './terminal.ts';
import { printProfile } from './profile.ts';

export interface PhaseArguments extends BenchModelArguments {
  readonly contexts?: string | undefined;
  readonly steps?: number | undefined;
  readonly runs?: number | undefined;
  readonly whole: boolean;
}

export const PHASES = ['edit', 'covariance', 'generate'] as const;
export type Phase = (typeof PHASES)[number];

/** Times a phase, prints it, and gives back what goes into the document. */
export async function benchPhase(
  phase: Phase,
  gpu: Gpu,
  roof: Roof,
  args: PhaseArguments,
  run: Run,
): Promise<unknown> {
  return withBenchModel(gpu, args, run, async (found) => {
    const { model, parameters, bytes, loadMs, layer } = found;
    const { layers, D } = model.dims;
    run.terminal.heading(
      `${phase}: ${model.id}, ${(parameters / 1e6).toFixed(0)} M parameters, ${layers} layers of ${D}, ` +
        `${megabytes(bytes)} loaded in ${ms(loadMs / 1000)} s`,
    );
    const about = { model: model.id, parameters, weight_bytes: bytes, layer, load_ms: loadMs };
    if (phase === 'edit') return { ...about, ...(await editPhase(found, roof, args, run)) };
    if (phase === 'covariance') return { ...about, ...(await covariancePhase(found, roof, args, run)) };
    return { ...about, steps: await generatePhase(found, roof, run) };
  });
}

async function editPhase(found: BenchModel, before: Roof, args: PhaseArguments, run: Run): Promise<object> {
  const { terminal, signal } = run;
  const { model, layer, bytes } = found;
  const { steps, runs, whole } = args;
  const contexts = args.contexts === undefined ? undefined : await readContexts(args.contexts);
  const result = await benchEdit(model, {
    ...{ layer, whole, signal },
    ...(contexts ? { contexts } : {}),
    ...(steps === undefined ? {} : { steps }),
    ...(runs === undefined ? {} : { runs }),
  });
  const { phases } = result;
  terminal.print(
    `edit of layer ${layer}   ${spread(result.edit)}   (${result.edit.samples} runs; the first of all ${ms(result.cold / 1000)} s)`,
    `  ${result.contexts} contexts, ${result.steps} steps of ${result.stepTokens} tokens, C = I`,
    `  contexts ${ms(phases.contexts)} ms, value ${ms(phases.value)} ms, solve ${ms(phases.solve)} ms, update ${ms(phases.update)} ms`,
  );
  if (result.whole) {
    const { edit, ratio, stepTokens } = result.whole;
    terminal.print(
      `--no-freeze          ${spread(edit)}   ${ratio.toFixed(2)} times as long (${stepTokens} tokens a step)`,
    );
  }
  const roof = higher(before, await measureRoof(model.gpu, signal));
  printTrace(terminal, result.trace, roof);
  printMemory(terminal, bytes);
  return { ...result, roof, peak_resident_bytes: peakResident(), peak_resident_limit: residentLimit(bytes) };
}

async function covariancePhase(
  found: BenchModel,
  before: Roof,
  args: PhaseArguments,
  run: Run,
): Promise<object> {
  const { terminal, signal } = run;
  const { model, layer } = found;
  const result = await benchCovariance(model, { layer, signal, ...(args.runs ? { runs: args.runs } : {}) });
  terminal.print(
    `covariance of layer ${layer}   ${result.tokensPerSecond.toFixed(0)} tokens a second; a batch of ${result.tokens} takes ${spread(result.batch)}`,
  );
  const roof = higher(before, await measureRoof(model.gpu, signal));
  terminal.print(
    `  ${(result.flopsPerToken / 1e6).toFixed(1)} useful MFLOP a token: ${giga(result.rate)} GFLOP/s, ${percentOf(result.rate, roof.matmul)} % of the best matmul`,
  );
  printTrace(terminal, result.trace, roof);
  return { ...result, roof };
}

async function generatePhase(
  { model }: BenchModel,
  before: Roof,
  { terminal, signal }: Run,
): Promise<unknown> {
  const results = await benchGenerate(model, { prompts: [1, 8], signal });
  const roof = higher(before, await measureRoof(model.gpu, signal));
  for (const { prompts, ...result } of results) {
    terminal.print(
      `${prompts} ${prompts === 1 ? 'prompt ' : 'prompts'}   ${result.tokensPerSecond.toFixed(1)} tokens a second; a step takes ${spread(result.step)}, ` +
        `${giga(result.rate)} GB/s of weights, ${percentOf(result.rate, roof.copy)} % of the best copy`,
    );
  }
  const [one, eight] = results;
  if (one && eight)
    terminal.print(
      `8 prompts: ${(eight.tokensPerSecond / one.tokensPerSecond).toFixed(2)} times the tokens of one`,
    );
  return results;
}

type Traced =
  { readonly wall: number; readonly kernels: KernelTime; readonly rows: readonly ProfileRow[] } | undefined;

const LISTED = 14;

/** Where the time of one traced run went. */
function printTrace(terminal: Terminal, trace: Traced, roof: Roof): void {
  if (!trace) {
    terminal.print('no timestamps on this adapter: where the time goes cannot be told');
    return;
  }
  const { wall, kernels, rows } = trace;
  terminal.print(
    `matrix products run at ${giga(kernels.matmulRate)} GFLOP/s, ${percentOf(kernels.matmulRate, roof.matmul)} % of the best matmul; ` +
      `they take ${percentOf(kernels.matmulMs, wall)} % of the time`,
    `outside kernels ${percentOf(wall - kernels.ms, wall)} % of ${ms(wall)} ms (one traced run)`,
    '',
  );
  printProfile(byKernel(rows).slice(0, LISTED), wall, (...lines) => terminal.print(...lines));
}

function printMemory(terminal: Terminal, weightBytes: number): void {
  const [peak, limit] = [peakResident(), residentLimit(weightBytes)];
  terminal.print(
    '',
    `peak resident memory ${megabytes(peak)}: ${(peak / weightBytes).toFixed(2)} times the weights; ` +
      `${peak <= limit ? 'within' : 'ABOVE'} 1.3 times and 1.5 GB (${megabytes(limit)})`,
  );
}

async function readContexts(path: string): Promise<string[]> {
  return parseContexts(await readFile(path, 'utf8'), path);
}
