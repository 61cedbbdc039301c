/**
 * `palimpsest/node`: what the engine needs from a machine. It opens an adapter, finds models and covariances by name or
 * on disk, and keeps edits in files. The engine itself is `palimpsest`.
 */
import type { Covariance } from './edit/covariance-solver.ts';
import type { Gpu } from './gpu/context.ts';
import { findCovariance, loadCovariance as readLayer } from './io/covariance-files.ts';
import { type ManifestEntry, openModel } from './io/models.ts';
import type { Checkpoint } from './models/checkpoint.ts';
import { Model } from './models/model.ts';
import type { LoadOptions } from './models/weights.ts';

export { openGpu, readShader } from './gpu/node.ts';
export { cachedEigen } from './io/eigen-cache.ts';
export { readEdit, writeEdit, writeFactsEdit } from './io/edit-files.ts';
export type { EditToWrite } from './io/edit-files.ts';
export { openCheckpoint } from './io/model-folder.ts';

export interface LoadModelOptions extends LoadOptions {
  /** Never asks the network. Default false. */
  readonly offline?: boolean;
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
