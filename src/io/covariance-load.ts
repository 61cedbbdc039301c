/** From a file to C, for one model and one of its layers; and which file to take when none was named. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EditRefused, ModelError } from '../errors.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import { cacheFolder } from './cache.ts';
import { type CovarianceFile, faultOf, openCovariance, readMatrices } from './covariance-file.ts';
import { formatShards } from './covariance-facts.ts';
import { type Manifest, type ManifestEntry, readManifest, verifyFile } from './manifest.ts';
import { weightsHash } from './weights-hash.ts';

/** C of one layer. */
export interface LoadedCovariance {
  readonly path: string;
  /** What edit files call it by. */
  readonly key: string;
  readonly layer: number;
  /** F. */
  readonly size: number;
  readonly tokens: number;
  /** The lower panels of C, F32. */
  readonly panels: Float32Array<ArrayBuffer>;
}

/**
 * Reads the covariance of a layer of a model.
 *
 * @throws ModelError when the file is damaged, a part, or of another model, layer or size: naming all that differs
 */
export async function loadCovariance(
  path: string,
  checkpoint: Checkpoint,
  layer: number,
): Promise<LoadedCovariance> {
  const file = await openCovariance(path);
  const faults = await differences(file, checkpoint, layer);
  if (faults.length > 0) {
    throw new ModelError(
      `covariance ${path}: expected that of layer ${layer} of ${checkpoint.id}, but ${faults.join('; ')}. ` +
        `Give another file, or build one: palimpsest covariance build --model ${checkpoint.id} --layer ${layer} --corpus FILE`,
      'wrong_covariance',
    );
  }
  const { C } = await readMatrices(file);
  if (!C) throw faultOf(path)('it holds no C');
  const { size, tokens } = file.facts;
  return { path, key: file.key, layer, size, tokens, panels: C };
}

/** Why a file does not fit, in words; empty when it does. */
async function differences(
  { facts }: CovarianceFile,
  checkpoint: Checkpoint,
  layer: number,
): Promise<string[]> {
  const faults: string[] = [];
  if (facts.shards) {
    faults.push(
      `it is a part (shard ${formatShards(facts.shards)}): bring all together with covariance merge first`,
    );
  }
  if (facts.layer !== layer) faults.push(`it is of layer ${facts.layer}`);
  const F = checkpoint.architecture.dims.F;
  if (facts.size !== F) faults.push(`its order is ${facts.size}, the keys of this model have ${F} numbers`);
  if (faults.length === 0 && facts.modelSha256 !== (await checkpoint.sha256())) {
    // Another file may hold the same numbers where they count: fine-tuned above this layer, or saved anew.
    const weights = await weightsHash(checkpoint, layer);
    if (facts.weights !== weights) {
      faults.push(
        `it is of the model ${facts.model}, whose weights up to that layer are others (${facts.weights.slice(0, 12)}, here ${weights.slice(0, 12)})`,
      );
    }
  }
  return faults;
}

/**
 * The file that `--covariance auto` means: the one that came with the model, else the one in the cache that was built
 * from the most tokens.
 *
 * @throws EditRefused saying where it looked and how to build one: an edit without C is another method, and never chosen silently
 */
export async function findCovariance(
  checkpoint: Checkpoint,
  layer: number,
  entry?: ManifestEntry,
  options: { readonly manifest?: Manifest; readonly cache?: string } = {},
): Promise<string> {
  const tried: string[] = [];
  const bundled = entry?.folder === undefined ? undefined : entry.covariance?.[`layer-${layer}`];
  if (entry?.folder !== undefined && bundled) {
    const { root } = options.manifest ?? (await readManifest());
    const folder = join(root, entry.folder);
    await verifyFile(folder, bundled.file, bundled);
    return join(folder, bundled.file);
  }
  if (entry?.folder !== undefined) tried.push('the files that came with the model');
  const cache = join(options.cache ?? cacheFolder(), 'covariance');
  const name = (await checkpoint.sha256()).slice(0, 12);
  tried.push(join(cache, '*', name, `layer-${layer}.*.safetensors`));
  let best: CovarianceFile | undefined;
  for (const model of await readdir(cache).catch(() => [])) {
    const folder = join(cache, model, name);
    for (const file of await readdir(folder).catch(() => [])) {
      if (!file.startsWith(`layer-${layer}.`) || !file.endsWith('.safetensors')) continue;
      const found = await openCovariance(join(folder, file));
      if (found.facts.shards) continue;
      if (!best || found.facts.tokens > best.facts.tokens) best = found;
    }
  }
  if (best) return best.path;
  throw new EditRefused(
    `covariance: expected one of layer ${layer} of ${checkpoint.id}, found none; looked at ${tried.join(', and at ')}. ` +
      `Build one: palimpsest covariance build --model ${checkpoint.id} --layer ${layer} --corpus FILE. ` +
      'Or edit without: --covariance identity.',
    'no_covariance',
  );
}
