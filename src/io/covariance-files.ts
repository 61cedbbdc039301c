/** Covariance files on the disk: opened, written, found for a model and one of its layers, checked against both. */
import { readdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Covariance } from '../edit/covariance-solver.ts';
import { EditRefused, ModelError } from '../errors.ts';
import {
  checkCovariance,
  covarianceContent,
  covarianceFault,
  type CovarianceFile,
  readC,
  readMatrices,
} from '../formats/covariance-file.ts';
import {
  type CovarianceFacts,
  covarianceFileName,
  covarianceKey,
  formatShards,
} from '../formats/covariance-identity.ts';
import type { Matrices } from '../formats/checksum.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import { type WriteOptions, writeSafetensors } from './atomic.ts';
import { cacheFolder } from './cache.ts';
import { openSafetensors, verifyFile } from './file.ts';
import { weightsHash } from './model-folder.ts';
import { type Manifest, type ManifestEntry, readManifest } from './models.ts';

/** Opens a file and checks everything but its numbers. @throws ModelError naming the file and what is wrong with it */
export async function openCovariance(path: string): Promise<CovarianceFile> {
  if (path.endsWith('.npz'))
    throw covarianceFault(path)(
      'this is an archive of NumPy. Bring it in with: palimpsest covariance import',
    );
  return checkCovariance(await openSafetensors(path));
}

/** A file on the disk, and what it is of. */
export interface BuiltFile {
  readonly path: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
  /** It was there before. */
  readonly reused?: boolean;
}

/**
 * Writes a covariance (`C`) or a part (`S.high`, `S.low`), whole or not at all.
 *
 * @param out where to; undefined: where the cache has such a file
 */
export async function writeCovariance(
  facts: CovarianceFacts,
  matrices: Matrices,
  { out, signal }: WriteOptions & { readonly out?: string | undefined } = {},
): Promise<BuiltFile> {
  const folder = covarianceFolder(facts.model, facts.modelSha256);
  const path = out ?? join(folder, await covarianceFileName(facts));
  const { tensors, metadata } = await covarianceContent(facts, matrices);
  await writeSafetensors(path, tensors, { metadata, signal });
  return { path, key: await covarianceKey(facts), facts };
}

/** `covariance/MODEL/SHA` in the cache: of every model a folder, of every version of its weights one below it. */
export function covarianceFolder(model: string, sha256: string, cache = cacheFolder()): string {
  return join(cache, 'covariance', model.replaceAll('/', '--'), sha256.slice(0, 12));
}

/** A hub id as it is; of a folder, the last part of its path. */
export function modelName(id: string): string {
  return /^[./~]|[\\:]/.test(id) ? basename(id) || 'model' : id;
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
): Promise<Covariance> {
  const file = await openCovariance(path);
  const faults = await differences(file.facts, checkpoint, layer);
  if (faults.length > 0) {
    throw new ModelError(
      `covariance ${path}: expected that of layer ${layer} of ${checkpoint.id}, but ${faults.join('; ')}. ` +
        `Give another file, or build one: palimpsest covariance build --model ${checkpoint.id} --layer ${layer} --corpus FILE`,
      'wrong_covariance',
    );
  }
  const { size, tokens } = file.facts;
  return { key: file.key, size, tokens, panels: await readC(file) };
}

/** Why a file does not fit, in words; empty when it does. */
async function differences(facts: CovarianceFacts, checkpoint: Checkpoint, layer: number): Promise<string[]> {
  const faults: string[] = [];
  if (facts.shards)
    faults.push(
      `it is a part (shard ${formatShards(facts.shards)}): bring all together with covariance merge first`,
    );
  if (facts.layer !== layer) faults.push(`it is of layer ${facts.layer}`);
  const F = checkpoint.architecture.dims.F;
  if (facts.size !== F) faults.push(`its order is ${facts.size}, the keys of this model have ${F} numbers`);
  if (faults.length > 0 || facts.modelSha256 === (await checkpoint.sha256())) return faults;
  // Another file may hold the same numbers where they count: fine-tuned above this layer, or saved anew.
  const weights = await weightsHash(checkpoint, layer);
  if (facts.weights === weights) return [];
  return [
    `it is of the model ${facts.model}, whose weights up to that layer are others (${facts.weights.slice(0, 12)}, here ${weights.slice(0, 12)})`,
  ];
}

/** What a file of the cache gives; nothing of one that is damaged, which is out of the way from then on. */
export async function unlessDamaged<T>(
  path: string,
  read: () => Promise<T>,
  onNotice?: (text: string) => void,
): Promise<[T] | []> {
  try {
    return [await read()];
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const aside = `${path}.damaged`;
    const moved = await rename(path, aside).then(
      () => `It is ${basename(aside)} from now on`,
      () => 'It is passed over',
    );
    onNotice?.(`${error.message} ${moved}.`);
    return [];
  }
}

/**
 * The file that `--covariance auto` means: the one that came with the model, else the one in the cache that was built
 * from the most tokens.
 *
 * A damaged file of the cache is set aside with a word, and the next one is used.
 *
 * @throws EditRefused saying where it looked and how to build one: an edit without C is another method, and never chosen silently
 */
export async function findCovariance(
  checkpoint: Checkpoint,
  layer: number,
  entry?: ManifestEntry,
  {
    manifest,
    cache: folder = cacheFolder(),
    onNotice,
  }: {
    readonly manifest?: Manifest;
    readonly cache?: string;
    readonly onNotice?: ((text: string) => void) | undefined;
  } = {},
): Promise<string> {
  const tried: string[] = [];
  if (entry?.folder !== undefined) {
    const bundled = entry.covariance?.[`layer-${layer}`];
    if (bundled) {
      const { root } = manifest ?? (await readManifest());
      const own = join(root, entry.folder);
      await verifyFile(own, bundled.file, bundled);
      return join(own, bundled.file);
    }
    tried.push('the files that came with the model');
  }
  const cache = join(folder, 'covariance');
  const name = (await checkpoint.sha256()).slice(0, 12);
  tried.push(join(cache, '*', name, `layer-${layer}.*.safetensors`));
  const found: CovarianceFile[] = [];
  for (const model of await readdir(cache).catch(() => [])) {
    for (const file of await readdir(join(cache, model, name)).catch(() => [])) {
      if (!file.startsWith(`layer-${layer}.`) || !file.endsWith('.safetensors')) continue;
      const path = join(cache, model, name, file);
      found.push(...(await unlessDamaged(path, () => openCovariance(path), onNotice)));
    }
  }
  const whole = found.filter(({ facts }) => !facts.shards);
  for (const file of whole.sort((a, b) => b.facts.tokens - a.facts.tokens)) {
    const [read] = await unlessDamaged(file.name, () => readMatrices(file), onNotice);
    if (read) return file.name;
  }
  throw new EditRefused(
    `covariance: expected one of layer ${layer} of ${checkpoint.id}, found none; looked at ${tried.join(', and at ')}. ` +
      `Build one: palimpsest covariance build --model ${checkpoint.id} --layer ${layer} --corpus FILE. ` +
      'Or edit without: --covariance identity.',
    'no_covariance',
  );
}
