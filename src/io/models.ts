/** What `--model` means: a bundled model, a folder, a known name or a hub id, in this order. */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import { type HubOptions, resolveHubModel } from './hub.ts';
import { type Manifest, type ManifestEntry, readManifest } from './manifest.ts';

export interface FoundModel {
  readonly id: string;
  readonly folder: string;
  /** What the manifest knows of it: edit layer, clamp, checksums. */
  readonly entry?: ManifestEntry;
}

/**
 * Finds the folder of a model, downloading it if it is neither bundled nor cached.
 *
 * @throws ModelError, UsageError as `resolveHubModel`
 */
export async function findModel(
  model: string,
  options: HubOptions = {},
  manifest?: Manifest,
): Promise<FoundModel> {
  const { root, models } = manifest ?? (await readManifest());
  const known = Object.hasOwn(models, model) ? models[model] : undefined;
  if (known?.folder !== undefined) return { id: model, folder: join(root, known.folder), entry: known };

  const found = await stat(model).catch(() => undefined);
  // A folder goes before a known name, as in Python; a file of that name is no model.
  if (found?.isDirectory() || (found && !known)) {
    const here = resolve(model);
    const entry = Object.values(models).find(
      ({ folder }) => folder !== undefined && resolve(root, folder) === here,
    );
    return { id: model, folder: model, ...(entry ? { entry } : {}) };
  }
  if (/^[./~]|[\\:]/.test(model)) {
    throw new ModelError(
      `model ${model}: expected a folder with config.json, tokenizer.json and model.safetensors, there is none. ` +
        `Correct the path, or give a known name (${Object.keys(models).join(', ')}) or a hub id.`,
      'no_model',
    );
  }
  const entry = known ?? Object.values(models).find(({ hub }) => hub === model);
  const { folder } = await resolveHubModel(entry?.hub ?? model, { revision: entry?.revision, ...options });
  return { id: model, folder, ...(entry ? { entry } : {}) };
}

/** Finds and opens a model: `findModel`, then `openCheckpoint`. */
export async function openModel(
  model: string,
  options: HubOptions = {},
): Promise<{ checkpoint: Checkpoint; entry?: ManifestEntry }> {
  const { id, folder, entry } = await findModel(model, options);
  const checkpoint = await openCheckpoint(folder, { id, manifest: entry });
  return { checkpoint, ...(entry ? { entry } : {}) };
}
