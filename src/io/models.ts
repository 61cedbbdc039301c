/** The models that can be named: those that came with the program, known ones, folders, and ids of the Hugging Face hub. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { ModelError, UsageError } from '../errors.ts';
import { jsonFrom } from '../json.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import { readSweptLayer } from './cache.ts';
import { ownPath } from './file.ts';
import type { HubOptions } from './hub.ts';
import { isGguf, openCheckpoint, openGguf } from './model-folder.ts';

const Check = v.object({
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits')),
  bytes: v.pipe(v.number(), v.safeInteger()),
});

/** What a file must be. */
export type FileCheck = Readonly<v.InferOutput<typeof Check>>;

/** A known model lies in a `folder` beside the manifest, or on the hub under the id `hub`. */
const POSITIVE = v.pipe(v.number(), v.gtValue(0));
const LAYER = v.pipe(v.number(), v.integer(), v.minValue(0));
const MASS = {
  covariance_weight: POSITIVE,
  epsilon: POSITIVE,
  norm_weight: POSITIVE,
  null_space_threshold: POSITIVE,
  ridge: POSITIVE,
};

const Entry = v.pipe(
  v.object({
    folder: v.optional(v.string()),
    hub: v.optional(v.string()),
    /** Commit on the hub; without it, the branch `main`. */
    revision: v.optional(v.string()),
    /** The layer whose MLP is edited when nothing else is said, counted from 0. */
    edit_layer: LAYER,
    /** Those that many facts at once are spread over. */
    edit_layers: v.optional(v.array(LAYER)),
    /** What methods for many facts take on this model, where the papers' numbers are not for it. */
    mass: v.optional(v.record(v.string(), v.partial(v.object(MASS)))),
    /** κ: the longest δ, in lengths of v0. */
    clamp: POSITIVE,
    steps: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
    learning_rate: v.optional(POSITIVE),
    weight_decay: v.optional(v.pipe(v.number(), v.minValue(0))),
    kl_factor: v.optional(v.pipe(v.number(), v.minValue(0))),
    /** Where these settings come from. */
    source: v.optional(v.string()),
    files: v.optional(v.record(v.string(), Check)),
    /** Second moments that came with the model, by layer: `layer-1`; `file` lies in `folder`. */
    covariance: v.optional(v.record(v.string(), v.object({ ...Check.entries, file: v.string() }))),
  }),
  v.check(
    ({ folder, hub }) => (folder === undefined) !== (hub === undefined),
    'expected either "folder" or "hub"',
  ),
);

export type ManifestEntry = Readonly<v.InferOutput<typeof Entry>>;

/** `weights/manifest.json`: the models known by name, and the checksums of the files that came with them. */
export interface Manifest {
  /** The folder that holds the manifest and the bundled models. */
  readonly root: string;
  readonly models: Readonly<Record<string, ManifestEntry>>;
}

/** @throws ModelError if the manifest is missing or an entry of it is malformed */
export async function readManifest(path?: string): Promise<Manifest> {
  const file = path ?? (await ownPath('weights/manifest.json'));
  const fault = (what: string): ModelError =>
    new ModelError(
      `manifest ${file}: ${what}. The installation is incomplete: reinstall it.`,
      'bad_manifest',
    );
  const content = await readFile(file).catch((error: Error) => {
    throw fault(error.message);
  });
  const json = jsonFrom(content, fault);
  const models = v.safeParse(v.record(v.string(), Entry), json);
  if (models.success) return { root: dirname(file), models: models.output };
  const [issue] = models.issues;
  const [{ key: name } = { key: undefined }, ...rest] = issue.path ?? [];
  const where = rest.map(({ key }) => String(key)).join('.');
  throw fault(`model "${String(name)}": ${where}${where && ': '}${issue.message}`);
}

export interface FoundModel {
  /** What the user called it. */
  readonly id: string;
  /** Or the GGUF file that it is. */
  readonly folder: string;
  /** What is known of it: edit layer, clamp, checksums; by the manifest, by its shape, or by a sweep. */
  readonly entry: ManifestEntry | undefined;
}

/**
 * The folder of a model: a bundled one, a folder or GGUF file, a known name or a hub id, in this order. It is downloaded if it is
 * neither bundled nor cached.
 *
 * @throws ModelError, UsageError as `resolveHubModel`
 */
export async function findModel(model: string, options: HubOptions = {}): Promise<FoundModel> {
  const { root, models } = await readManifest();
  const known = Object.hasOwn(models, model) ? models[model] : undefined;
  if (known?.folder !== undefined) {
    refuseRevision(model, options);
    return { id: model, folder: join(root, known.folder), entry: known };
  }

  const found = await stat(model).catch(() => undefined);
  // A folder goes before a known name, as in Python; a file of that name is no model, but for a GGUF file.
  if (found?.isDirectory() || isGguf(model) || (found && !known)) {
    const entry = Object.values(models).find(
      ({ folder }) => folder !== undefined && resolve(root, folder) === resolve(model),
    );
    refuseRevision(model, options);
    return { id: model, folder: model, entry };
  }
  if (/^[./~]|[\\:]/.test(model))
    throw new ModelError(
      `model ${model}: expected a GGUF file, or a folder with config.json, tokenizer.json and model.safetensors, there is none. ` +
        `Correct the path, or give a known name (${Object.keys(models).join(', ')}) or a hub id.`,
      'no_model',
    );
  const entry = known ?? Object.values(models).find(({ hub }) => hub === model);
  const { resolveHubModel } = await import('./hub.ts');
  const revision = options.revision ?? entry?.revision;
  const resolved = resolveHubModel(entry?.hub ?? model, { ...options, revision });
  const { folder } = await resolved.catch((error: unknown) => {
    if (error instanceof ModelError && !entry && !model.includes('/'))
      error.message += ` Known names are ${Object.keys(models).join(', ')}; a folder is found from where you are.`;
    throw error;
  });
  return { id: model, folder, entry };
}

function refuseRevision(model: string, { revision }: HubOptions): void {
  if (revision === undefined) return;
  throw new UsageError(
    `--revision ${revision}: expected it with a model of the hub, but ${model} is here already, as it is. Leave it out.`,
  );
}

/** Of a model that the manifest does not know: what is known of its shape, else the layer that a sweep of it named. */
async function settingsOf(checkpoint: Checkpoint): Promise<ManifestEntry | undefined> {
  const { knownSettings } = await import('../models/known-settings.ts');
  const known = knownSettings(checkpoint.architecture);
  if (known) return known;
  const layer = await readSweptLayer(checkpoint.sha256);
  return layer === undefined ? undefined : { edit_layer: layer, clamp: 4, source: 'a sweep of this model' };
}

export interface OpenedModel extends FoundModel {
  readonly checkpoint: Checkpoint;
}

/** Finds a model and opens its files; no tensor is read. @throws as `findModel` and `openCheckpoint` */
export async function openModel(model: string, options: HubOptions = {}): Promise<OpenedModel> {
  const found = await findModel(model, options);
  const { id, folder, entry } = found;
  const checkpoint = isGguf(folder)
    ? await openGguf(id, folder)
    : await openCheckpoint(folder, { id, files: entry?.files });
  return { ...found, checkpoint, entry: entry ?? (await settingsOf(checkpoint)) };
}
