/** What a build of C is to make: a file a layer, by all that changes its numbers; some may be there already. */
import { join } from 'node:path';
import type { BuildState } from '../edit/covariance.ts';
import { UsageError } from '../errors.ts';
import { covarianceFault, readMatrices } from '../formats/covariance-file.ts';
import { covarianceFileName, covarianceKey } from '../formats/covariance-identity.ts';
import type { CovarianceFacts, CovarianceIdentity } from '../formats/covariance-identity.ts';
import { sha256 } from '../formats/source.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import type { Model } from '../models/model.ts';
import type { Corpus } from './corpus-files.ts';
import type { CorpusPosition } from './corpus.ts';
import { modelName, openCovariance } from './covariance-files.ts';
import { exists } from './file.ts';
import { tokenizerHash, weightsHash } from './model-folder.ts';

export interface BuildJob {
  readonly model: Model;
  readonly checkpoint: Checkpoint;
  readonly corpus: Corpus;
  readonly layers: readonly number[];
  /** Tokens wanted; with a shard, those of the shard. */
  readonly tokens?: number | undefined;
  readonly shard?: { readonly index: number; readonly of: number } | undefined;
  /** One file instead of the cache's; for one layer. */
  readonly out?: string | undefined;
  readonly cache?: string | undefined;
  /** Milliseconds between two states on the disk. */
  readonly saveMs: number;
  /** Forgets an earlier state and finished files of the same key. */
  readonly restart?: boolean | undefined;
  /** Keys of special tokens are left out. */
  readonly skipSpecial?: boolean | undefined;
  /** Tokens of a batch at most. */
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuiltFile {
  readonly path: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
  /** It was there before. */
  readonly reused: boolean;
}

/** A file to be: what it will be of, and where. */
export interface Target {
  readonly identity: CovarianceIdentity;
  readonly path: string;
}

/** The key of an unfinished build: of all its layers, and whatever the number of tokens wanted. */
export async function buildKey(identities: readonly CovarianceIdentity[]): Promise<string> {
  const keys = identities.map((identity) => covarianceKey({ ...identity, wanted: undefined }));
  return (await sha256(JSON.stringify(await Promise.all(keys)))).slice(0, 16);
}

export async function targetsOf(job: BuildJob, folder: string): Promise<Target[]> {
  const { model, checkpoint, corpus, layers, tokens, shard, out, skipSpecial, signal } = job;
  if (new Set(layers).size !== layers.length)
    throw new UsageError(`covariance: layers ${layers.join(', ')}: expected each once.`);
  if (out !== undefined && layers.length > 1)
    throw new UsageError(
      'covariance: --out names one file, for one layer. Leave it out: every layer has a file in the cache.',
    );
  const common = {
    storage: model.storage,
    tokenizer: tokenizerHash(checkpoint),
    size: checkpoint.architecture.dims.F,
    corpus: corpus.sha256,
    wanted: tokens,
    context: checkpoint.architecture.dims.context,
    ...(skipSpecial ? { skipSpecial } : {}),
    shards: shard ? { indices: [shard.index], of: shard.of } : undefined,
  };
  const targets: Target[] = [];
  for (const layer of layers) {
    const identity = { ...common, layer, weights: await weightsHash(checkpoint, layer, signal) };
    targets.push({ identity, path: out ?? join(folder, await covarianceFileName(identity)) });
  }
  return targets;
}

export async function factsOf(
  { checkpoint, corpus }: BuildJob,
  identity: CovarianceIdentity,
  { tokens: all, skipped = 0, documents, cut, position }: Omit<BuildState<CorpusPosition>, 'sums'>,
): Promise<CovarianceFacts> {
  const { empty = 0, invalid = 0 } = position ?? {};
  const tokens = all - skipped;
  const modelSha256 = await checkpoint.sha256();
  const names = { model: modelName(checkpoint.id), modelSha256, corpusName: corpus.name };
  return { ...identity, ...names, tokens, documents, cut, empty, invalid };
}

/** @throws ModelError when there is a file of that name, but damaged or of something else */
export async function finished({ path, identity }: Target): Promise<BuiltFile | undefined> {
  if (!(await exists(path))) return undefined;
  const file = await openCovariance(path);
  const key = await covarianceKey(identity);
  if (file.key !== key) {
    throw covarianceFault(path)(
      `expected the file of this build (key ${key}), there is another one (key ${file.key}). Choose another name, or replace it with --restart`,
    );
  }
  await readMatrices(file);
  return { path, key, facts: file.facts, reused: true };
}
