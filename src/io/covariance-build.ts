/**
 * A build from beginning to end on disk: what is there already, a lock, checkpoints, and the files at the end.
 *
 *   covariance/MODEL/SHA/layer-N.KEY.safetensors             finished
 *   covariance/MODEL/SHA/build-KEY.checkpoint.safetensors    unfinished: sums and place in the corpus
 *   covariance/MODEL/SHA/build-KEY.lock                      while a process is at work on it
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sha256 } from '../formats/checksums.ts';
import { CovarianceBuild } from '../edit/covariance.ts';
import type { BuildState, Built, BuiltLayer } from '../edit/covariance.ts';
import { Interrupted, UsageError } from '../errors.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import type { Model } from '../models/model.ts';
import { type CorpusPosition, documents } from './corpus.ts';
import type { Corpus } from './corpus-files.ts';
import {
  type CorpusBuild,
  readCheckpoint,
  removeCheckpoint,
  writeCheckpoint,
} from './covariance-checkpoint.ts';
import {
  covarianceFault,
  covarianceFileName,
  type CovarianceFacts,
  type CovarianceIdentity,
  covarianceKey,
  readMatrices,
} from '../formats/covariance-file.ts';
import { covarianceFolder, modelName, openCovariance, writeCovariance } from './covariance-files.ts';
import { takeLock } from './lock.ts';
import { tokenizerHash, weightsHash } from './model-folder.ts';

export interface BuildProgress {
  readonly tokens: number;
  readonly documents: number;
  /** Tokens asked for, if any were. */
  readonly wanted: number | undefined;
  /** Of all work, 0 to 1; by tokens when those were asked for, else by bytes of the corpus. */
  readonly fraction: number;
  /** Tokens that a checkpoint brought. */
  readonly resumed: number;
}

export interface BuildJob {
  readonly model: Model;
  readonly checkpoint: Checkpoint;
  readonly corpus: Corpus;
  /** How the model stores its matrices. Default f32. */
  readonly storage?: 'f32' | 'f16' | undefined;
  readonly layers: readonly number[];
  /** Tokens wanted; with a shard, those of the shard. */
  readonly tokens?: number | undefined;
  readonly shard?: { readonly index: number; readonly of: number } | undefined;
  /** One file instead of the cache's; for one layer. */
  readonly out?: string | undefined;
  readonly cache?: string | undefined;
  readonly checkpointMs: number;
  /** Forgets an earlier checkpoint and finished files of the same key. */
  readonly restart?: boolean | undefined;
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: BuildProgress) => void;
  /** After each checkpoint is on the disk. */
  readonly onCheckpoint?: (tokens: number) => void;
  /** Then, and at the end: the sums on the GPU. */
  readonly onLook?: ((sums: CovarianceBuild<CorpusPosition>) => Promise<void>) | undefined;
  readonly onResume?: (tokens: number) => void;
}

export interface BuiltFile {
  readonly path: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
  /** It was there before. */
  readonly reused: boolean;
}

/** Builds what is missing. @throws ModelError when another process builds the same, or a file is damaged */
export async function runBuild(job: BuildJob): Promise<BuiltFile[]> {
  const { layers, out } = job;
  if (new Set(layers).size !== layers.length)
    throw new UsageError(`covariance: layers ${layers.join(', ')}: expected each once.`);
  if (out !== undefined && layers.length > 1)
    throw new UsageError(
      'covariance: --out names one file, for one layer. Leave it out: every layer has a file in the cache.',
    );
  const identities = await identify(job);
  const folder = covarianceFolder(modelName(job.checkpoint.id), await job.checkpoint.sha256(), job.cache);
  const targets: { identity: CovarianceIdentity; path: string }[] = [];
  for (const identity of identities)
    targets.push({ identity, path: out ?? join(folder, await covarianceFileName(identity)) });
  if (!job.restart) {
    const there = await Promise.all(targets.map(({ identity, path }) => finished(path, identity)));
    if (there.every((file) => file !== undefined)) return there;
  }

  const key = await buildKey(identities);
  const path = join(folder, `build-${key}.checkpoint.safetensors`);
  const lock = await takeLock(join(folder, `build-${key}.lock`));
  try {
    await removeLeftovers(path);
    if (job.restart) await removeCheckpoint(path);
    const resume = await readCheckpoint(path, key, layers);
    if (resume) checkResumable(job, resume, path);
    let kept = resume?.tokens ?? 0;
    const state = await build(job, resume, async (at) => {
      await lock.check();
      await writeCheckpoint(path, key, job.model.dims.F, at);
      kept = at.tokens;
      job.onCheckpoint?.(at.tokens);
    }).catch((error: unknown) => {
      throw error instanceof Interrupted ? whatIsKept(path, kept) : error;
    });
    await lock.check();
    const files: BuiltFile[] = [];
    for (const { identity, path: target } of targets) {
      const layer = state.built.find((built) => built.layer === identity.layer) as BuiltLayer;
      const facts = await factsOf(job, identity, state);
      const matrices = identity.shards
        ? { 'S.high': layer.high, 'S.low': layer.low }
        : { C: layer.covariance };
      await writeCovariance(target, facts, matrices);
      files.push({ path: target, key: await covarianceKey(identity), facts, reused: false });
    }
    await removeCheckpoint(path);
    return files;
  } finally {
    await lock.release();
  }
}

/** The key of an unfinished build: of all its layers, and whatever the number of tokens wanted. */
export async function buildKey(identities: readonly CovarianceIdentity[]): Promise<string> {
  const keys = identities.map((identity) => covarianceKey({ ...identity, wanted: undefined }));
  return (await sha256(JSON.stringify(await Promise.all(keys)))).slice(0, 16);
}

async function identify({
  checkpoint,
  corpus,
  storage = 'f32',
  layers,
  tokens,
  shard,
  signal,
}: BuildJob): Promise<CovarianceIdentity[]> {
  const common = {
    storage,
    tokenizer: tokenizerHash(checkpoint),
    size: checkpoint.architecture.dims.F,
    corpus: corpus.sha256,
    wanted: tokens,
    context: checkpoint.architecture.dims.context,
    shards: shard ? { indices: [shard.index], of: shard.of } : undefined,
  };
  const identities: CovarianceIdentity[] = [];
  for (const layer of layers)
    identities.push({ ...common, layer, weights: await weightsHash(checkpoint, layer, signal) });
  return identities;
}

async function factsOf(
  { checkpoint, corpus }: BuildJob,
  identity: CovarianceIdentity,
  { tokens, documents, cut, position }: BuildState<CorpusPosition>,
): Promise<CovarianceFacts> {
  const { empty = 0, invalid = 0 } = position ?? {};
  const modelSha256 = await checkpoint.sha256();
  const names = { model: modelName(checkpoint.id), modelSha256, corpusName: corpus.name };
  return { ...identity, ...names, tokens, documents, cut, empty, invalid };
}

/** @throws ModelError when there is a file of that name, but damaged or of something else */
async function finished(path: string, identity: CovarianceIdentity): Promise<BuiltFile | undefined> {
  if (!(await stat(path).catch(() => undefined))) return undefined;
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

/** Runs the corpus through the model, and saves the sums every `checkpointMs` and when the user wants to stop. */
async function build(
  job: BuildJob,
  resume: CorpusBuild | undefined,
  save: (state: CorpusBuild) => Promise<void>,
): Promise<Built<CorpusPosition>> {
  const { corpus, tokens: wanted, signal } = job;
  const resumed = resume?.tokens ?? 0;
  if (resume) job.onResume?.(resumed);
  return job.model.gpu.scope(async (s) => {
    const sums = new CovarianceBuild<CorpusPosition>(s, job.model, { layers: job.layers, resume });
    let saved = performance.now();
    for await (const position of sums.run({ ...job, documents: (from) => documents(corpus.files, from) })) {
      const { tokens, documents: count } = sums.counts;
      const fraction = wanted === undefined ? bytesBefore(corpus, position) / corpus.bytes : tokens / wanted;
      job.onProgress?.({ tokens, documents: count, wanted, fraction, resumed });
      if (signal?.aborted || performance.now() - saved < job.checkpointMs) continue;
      await save(await sums.state());
      await job.onLook?.(sums);
      saved = performance.now();
    }
    if (signal?.aborted) {
      if (sums.counts.tokens > resumed) await save(await sums.state());
      signal.throwIfAborted();
    }
    const built = await sums.finish();
    await job.onLook?.(sums);
    return built;
  });
}

function bytesBefore({ files }: Corpus, { file, offset }: CorpusPosition): number {
  return files.slice(0, file).reduce((sum, { bytes }) => sum + bytes, offset);
}

function checkResumable({ tokens: wanted }: BuildJob, { tokens }: CorpusBuild, path: string): void {
  if (wanted === undefined || tokens <= wanted) return;
  throw new UsageError(
    `covariance: ${wanted} tokens are asked for, but ${path} holds ${tokens} of this build already. ` +
      `Ask for ${tokens} or more, or begin anew with --restart.`,
  );
}

function whatIsKept(path: string, tokens: number): Interrupted {
  if (tokens === 0) return new Interrupted('interrupted before the first batch: nothing is kept.');
  return new Interrupted(
    `interrupted: ${tokens} tokens are kept in ${path}. The same command goes on from there; with --tokens ${tokens} it ends there.`,
  );
}

/** Temporary files of a process that was killed while it wrote. The lock is held: nobody writes now. */
async function removeLeftovers(path: string): Promise<void> {
  const [folder, name] = [dirname(path), basename(path)];
  for (const file of await readdir(folder).catch(() => [])) {
    if (file.startsWith(`${name}.`) && file.endsWith('.tmp')) await rm(join(folder, file), { force: true });
  }
}
