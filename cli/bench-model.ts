/** The model that a phase is timed on: a checkpoint, or random weights in one of GPT-2's sizes. */
import process from 'node:process';
import type { Gpu } from '../src/gpu/context.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { MODEL_SIZES, randomCheckpoint } from '../src/models/random-checkpoint.ts';
import type { ModelSize } from '../src/models/random-checkpoint.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { findModel } from '../src/io/models.ts';
import { parametersOf } from '../src/lab/bench/parameters.ts';
import type { Run } from './command.ts';
import { BUNDLED_MODEL } from './session.ts';
import { megabytes } from './text.ts';

export interface BenchModelArguments {
  readonly model?: string | undefined;
  readonly modelSize?: ModelSize | undefined;
  readonly layer?: number | undefined;
  readonly weights?: 'f32' | 'f16' | undefined;
  readonly offline: boolean;
}

export interface BenchModel {
  readonly model: Model;
  /** The layer that is edited. */
  readonly layer: number;
  readonly parameters: number;
  /** Bytes of all weights on the adapter. */
  readonly bytes: number;
  readonly loadMs: number;
}

/** Loads it, runs `use`, and gives its memory back. */
export async function withBenchModel<T>(
  gpu: Gpu,
  args: BenchModelArguments,
  { terminal, signal }: Run,
  use: (found: BenchModel) => Promise<T>,
): Promise<T> {
  const { checkpoint, layer } = await openBenchModel(args);
  const bar = terminal.progress(`load ${checkpoint.id}`, megabytes);
  const start = performance.now();
  const before = gpu.liveBytes;
  let model: Model | undefined;
  try {
    const storage = args.weights ?? 'f32';
    model = await Model.load(gpu, checkpoint, { storage, editable: [layer], signal, onProgress: bar.update });
    bar.stop();
    const loadMs = performance.now() - start;
    const parameters = parametersOf(model.architecture);
    return await use({ model, layer, parameters, bytes: gpu.liveBytes - before, loadMs });
  } finally {
    bar.stop();
    model?.destroy();
    gpu.flush();
    gpu.pool.drain();
  }
}

async function openBenchModel(args: BenchModelArguments): Promise<{ checkpoint: Checkpoint; layer: number }> {
  const found = await findModel(args.modelSize ? BUNDLED_MODEL : (args.model ?? BUNDLED_MODEL), {
    offline: args.offline,
  });
  const named = await openCheckpoint(found.folder, { id: found.id, files: found.entry?.files });
  const middle = Math.floor((named.architecture.dims.layers - 1) / 2);
  if (!args.modelSize) return { checkpoint: named, layer: args.layer ?? found.entry?.edit_layer ?? middle };
  // Random weights are read with the bundled model's words: what they mean makes no difference to the time.
  const { config, editLayer } = MODEL_SIZES[args.modelSize];
  const { tokenizerJson, tokenizerConfig } = named;
  const checkpoint = randomCheckpoint(`random GPT-2 ${args.modelSize}`, {
    config,
    tokenizerJson,
    tokenizerConfig,
  });
  return { checkpoint, layer: args.layer ?? editLayer };
}

/** The most memory that this process has held so far, in bytes. */
export function peakResident(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** What it may be: 1.3 times the weights and 1.5 GB. */
export function residentLimit(weightBytes: number): number {
  return 1.3 * weightBytes + 1.5e9;
}
