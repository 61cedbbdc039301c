/**
 * A build from beginning to end on disk: what is there already, a lock, the state that is saved now and then, and the
 * files at the end.
 *
 *   covariance/MODEL/SHA/layer-N.KEY.safetensors      finished
 *   covariance/MODEL/SHA/build-KEY.state              unfinished: sums and place in the corpus
 *   covariance/MODEL/SHA/build-KEY.lock               while a process is at work on it
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CovarianceBuild, type BuildOptions } from '../edit/covariance.ts';
import { Interrupted, UsageError } from '../errors.ts';
import { covarianceFault, readMatrices } from '../formats/covariance-file.ts';
import { covarianceFileName, covarianceKey } from '../formats/covariance-identity.ts';
import type { CovarianceFacts, CovarianceIdentity } from '../formats/covariance-identity.ts';
import { sha256 } from '../formats/source.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import type { Model } from '../models/model.ts';
import { removeLeftovers } from './atomic.ts';
import type { Corpus } from './corpus-files.ts';
import { type CorpusPosition, documents } from './corpus.ts';
import {
  type BuiltFile,
  covarianceFolder,
  modelName,
  openCovariance,
  unlessDamaged,
  writeCovariance,
} from './covariance-files.ts';
import { type CorpusBuild, readState, writeState } from './covariance-state.ts';
import { exists } from './file.ts';
import { type Lock, takeLock } from './lock.ts';
import { tokenizerHash, weightsHash } from './model-folder.ts';

export interface BuildJob extends Omit<BuildOptions<CorpusPosition>, 'documents' | 'resume'> {
  readonly model: Model;
  readonly checkpoint: Checkpoint;
  readonly corpus: Corpus;
  /** One file instead of the cache's; for one layer. */
  readonly out?: string | undefined;
  readonly cache?: string | undefined;
  /** Milliseconds between two states on the disk. */
  readonly saveMs: number;
  /** Forgets an earlier state and finished files of the same key. */
  readonly restart?: boolean | undefined;
}

/** A file to be: what it will be of, and where. */
interface Target {
  readonly identity: CovarianceIdentity;
  readonly path: string;
}

/** A build at work, its sums on the GPU. */
export type CorpusSums = CovarianceBuild<CorpusPosition>;

/** What happens in a build, in the order of these kinds; batches and saves take turns. */
export type BuildEvent =
  /** Something worth a word. */
  | { readonly kind: 'notice'; readonly text: string }
  /** It goes on from a state of so many tokens. */
  | { readonly kind: 'resumed'; readonly tokens: number }
  /** `fraction` of all work, 0 to 1: by tokens when a number of them is wanted, else by bytes of the corpus. */
  | { readonly kind: 'batch'; readonly tokens: number; readonly fraction: number }
  /** The state is on the disk. */
  | { readonly kind: 'saved'; readonly tokens: number; readonly sums: CorpusSums }
  /** The corpus is read, or the wanted tokens are. */
  | { readonly kind: 'summed'; readonly tokens: number; readonly sums: CorpusSums }
  | { readonly kind: 'finished'; readonly files: readonly BuiltFile[] };

/**
 * Builds what is missing, and tells what happens.
 *
 * An aborted signal ends it after the batch at work, with the state saved.
 *
 * @throws ModelError when another process builds the same, or a file is damaged; Interrupted saying what is kept
 */
export async function* buildFiles(job: BuildJob): AsyncGenerator<BuildEvent, void, void> {
  const folder = covarianceFolder(modelName(job.checkpoint.id), await job.checkpoint.sha256(), job.cache);
  const targets = await targetsOf(job, folder);
  if (!job.restart) {
    const files: BuiltFile[] = [];
    const notices: string[] = [];
    for (const target of targets) {
      const find = (): Promise<BuiltFile | undefined> => finished(target);
      // A file of the cache that is damaged is built again; one that the user named is theirs to judge.
      const [found] =
        job.out === undefined
          ? await unlessDamaged(target.path, find, (text) => notices.push(text))
          : [await find()];
      if (found) files.push(found);
    }
    for (const text of notices) yield { kind: 'notice', text };
    if (files.length === targets.length) return yield { kind: 'finished', files };
  }
  const key = await buildKey(targets.map(({ identity }) => identity));
  const lock = await takeLock(join(folder, `build-${key}.lock`));
  try {
    yield* sum(job, targets, { path: join(folder, `build-${key}.state`), key, lock });
  } finally {
    await lock.release();
  }
}

/** Runs the corpus through the model from where an earlier state ends, and writes the files. */
async function* sum(
  job: BuildJob,
  targets: readonly Target[],
  { path, key, lock }: { readonly path: string; readonly key: string; readonly lock: Lock },
): AsyncGenerator<BuildEvent, void, void> {
  const { model, corpus, tokens: wanted, signal } = job;
  await removeLeftovers(path, true);
  if (job.restart) await rm(path, { force: true });
  const resume = await readState(path, key, job.layers);
  if (resume) {
    if (wanted !== undefined && resume.tokens > wanted)
      throw new UsageError(
        `covariance: ${wanted} tokens are asked for, but ${path} holds ${resume.tokens} of this build already. ` +
          `Ask for ${resume.tokens} or more, or begin anew with --restart.`,
      );
    yield { kind: 'resumed', tokens: resume.tokens };
  }
  const scope = model.gpu.open();
  try {
    const sums: CorpusSums = new CovarianceBuild(scope, model, { ...job, resume });
    let kept = resume?.tokens ?? 0;
    const save = async (): Promise<void> => {
      await lock.check();
      await writeState(path, key, model.dims.F, await sums.state());
      kept = sums.counts.tokens;
    };
    let saved = performance.now();
    for await (const position of sums.run({ ...job, documents: (from) => documents(corpus.files, from) })) {
      const { tokens } = sums.counts;
      const fraction = wanted === undefined ? bytesBefore(corpus, position) / corpus.bytes : tokens / wanted;
      yield { kind: 'batch', tokens, fraction };
      if (signal?.aborted || performance.now() - saved < job.saveMs) continue;
      await save();
      yield { kind: 'saved', tokens, sums };
      saved = performance.now();
    }
    if (signal?.aborted) {
      if (sums.counts.tokens > kept) await save();
      throw signal.reason instanceof Interrupted ? whatIsKept(path, kept) : signal.reason;
    }
    const { built, ...state } = await sums.finish();
    yield { kind: 'summed', tokens: state.tokens, sums };
    await lock.check();
    const files: BuiltFile[] = [];
    for (const { identity, path: target } of targets) {
      const layer = built.find((one) => one.layer === identity.layer);
      if (!layer) throw new RangeError(`covariance: layer ${identity.layer} was not summed.`);
      const facts = await factsOf(job, identity, state);
      const { high, low, covariance: C } = layer;
      const matrices = identity.shards ? { 'S.high': high, 'S.low': low } : { C };
      files.push({ ...(await writeCovariance(facts, matrices, { out: target })), reused: false });
    }
    await rm(path, { force: true });
    yield { kind: 'finished', files };
  } finally {
    scope.close();
  }
}

function bytesBefore({ files }: Corpus, { file, offset }: CorpusPosition): number {
  return files.slice(0, file).reduce((sum, { bytes }) => sum + bytes, offset);
}

function whatIsKept(path: string, tokens: number): Interrupted {
  if (tokens === 0) return new Interrupted('interrupted before the first batch: nothing is kept.');
  return new Interrupted(
    `interrupted: ${tokens} tokens are kept in ${path}. The same command goes on from there; with --tokens ${tokens} it ends there.`,
  );
}

/** The key of an unfinished build: of all its layers, and whatever the number of tokens wanted. */
export async function buildKey(identities: readonly CovarianceIdentity[]): Promise<string> {
  const keys = identities.map((identity) => covarianceKey({ ...identity, wanted: undefined }));
  return (await sha256(JSON.stringify(await Promise.all(keys)))).slice(0, 16);
}

async function targetsOf(job: BuildJob, folder: string): Promise<Target[]> {
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

async function factsOf(
  { checkpoint, corpus }: BuildJob,
  identity: CovarianceIdentity,
  { tokens: all, skipped = 0, documents, cut, position }: Omit<CorpusBuild, 'sums'>,
): Promise<CovarianceFacts> {
  const { empty = 0, invalid = 0 } = position ?? {};
  const tokens = all - skipped;
  const modelSha256 = await checkpoint.sha256();
  const names = { model: modelName(checkpoint.id), modelSha256, corpusName: corpus.name };
  return { ...identity, ...names, tokens, documents, cut, empty, invalid };
}

/** @throws ModelError when there is a file of that name, but damaged or of something else */
async function finished({ path, identity }: Target): Promise<BuiltFile | undefined> {
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
