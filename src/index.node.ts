/**
 * `palimpsest/node`: what the engine needs from a machine. It opens an adapter, finds models and covariances by name or
 * on disk, and keeps edits in files. The engine itself is `palimpsest`.
 */
import type { Covariance } from './edit/covariance-solver.ts';
import type { Edit, Update } from './edit/edit.ts';
import { readRecord, recordMetadata, recordTensors } from './edit/record.ts';
import type { EditRecord } from './edit/record.ts';
import { factsMetadata, factsTensors } from './edit/facts-record.ts';
import type { FactsBatch, FactsCircumstances } from './edit/facts-record.ts';
import { UsageError } from './errors.ts';
import { sealed } from './formats/checksum.ts';
import type { Gpu } from './gpu/context.ts';
import { findCovariance, loadCovariance as readLayer } from './io/covariance-files.ts';
import { type ManifestEntry, openModel } from './io/models.ts';
import { openSafetensors } from './io/file.ts';
import { writeSafetensors } from './io/atomic.ts';
import type { Checkpoint } from './models/checkpoint.ts';
import { Model } from './models/model.ts';
import { versions } from './io/version.ts';

export { openGpu } from './gpu/node.ts';
export { cachedEigen } from './io/eigen-cache.ts';
export { openCheckpoint } from './io/model-folder.ts';

export interface LoadModelOptions {
  /** Never asks the network. Default false. */
  readonly offline?: boolean;
  /** How matrices are stored on the GPU. Default `f32`. */
  readonly storage?: 'f32' | 'f16';
  /** Called with bytes of weights. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A model with what its files say besides its weights. */
export interface LoadedModel {
  readonly model: Model;
  readonly checkpoint: Checkpoint;
  /** What the manifest knows of it: the layer to edit, for one. */
  readonly entry: ManifestEntry | undefined;
}

/**
 * Loads a model: `facts`, which is part of this package, a folder in the Hugging Face layout, or an id of its hub.
 * `model.destroy()` gives its memory back.
 *
 * @throws ModelError when there is none, or its files do not fit together
 */
export async function loadModel(
  gpu: Gpu,
  name: string,
  { offline = false, ...options }: LoadModelOptions = {},
): Promise<LoadedModel> {
  const { checkpoint, entry } = await openModel(name, { offline });
  return { model: await Model.load(gpu, checkpoint, options), checkpoint, entry };
}

/**
 * C of one layer: from `file`, else the one that came with the model, else the one in the cache that was built from the
 * most tokens.
 *
 * @throws EditRefused when there is none; ModelError when the file is of another model or damaged
 */
export async function loadCovariance(
  { checkpoint, entry }: LoadedModel,
  { layer, file }: { readonly layer: number; readonly file?: string },
): Promise<Covariance> {
  return readLayer(file ?? (await findCovariance(checkpoint, layer, entry)), checkpoint, layer);
}

/** @throws UsageError naming the file and what is wrong with it */
export async function readEdit(file: string): Promise<EditRecord> {
  return readRecord(await openSafetensors(file, UsageError));
}

/** Writes the facts of a whole run, batch by batch; the file is there whole or not at all. */
export async function writeFactsEdit(
  file: string,
  model: Model,
  batches: readonly FactsBatch[],
  circumstances: Omit<FactsCircumstances, 'versions'>,
): Promise<void> {
  const tensors = factsTensors(batches);
  const {
    id,
    sha256,
    storage,
    gpu: { adapter },
  } = model;
  const tensorOf = (layer: number): string => model.editedWeight(layer).name;
  const about = { id, sha256, storage, tensorOf, adapter: adapter.description };
  const metadata = factsMetadata(about, batches, { ...circumstances, versions: versions() });
  await writeSafetensors(file, tensors, { metadata: await sealed(metadata, tensors) });
}

export interface EditToWrite {
  readonly model: Model;
  readonly edit: Edit;
  /** The one of the edit's updates that goes into the file. */
  readonly update: Update;
  /** `key` of the solver that the edit was computed with. */
  readonly covariance: string;
  /** Seed that the contexts were sampled with; absent when they were handed in. */
  readonly seed?: number | undefined;
  /** Ids of the edits that were in the model already, in order. Default none. */
  readonly earlier?: readonly string[];
}

/** Writes one update of an edit, with all that it takes to replay it; the file is there whole or not at all. */
export async function writeEdit(
  file: string,
  { model, edit, update, covariance, seed, earlier = [] }: EditToWrite,
): Promise<void> {
  const circumstances = { covariance, seed, earlier, versions: versions() };
  const tensors = recordTensors(update);
  const metadata = await sealed(recordMetadata(model, edit, update, circumstances), tensors);
  await writeSafetensors(file, tensors, { metadata });
}
