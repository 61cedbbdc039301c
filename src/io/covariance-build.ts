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
import { CovarianceBuild } from '../edit/covariance.ts';
import { Interrupted, UsageError } from '../errors.ts';
import { covarianceKey } from '../formats/covariance-identity.ts';
import { removeLeftovers } from './atomic.ts';
import type { Corpus } from './corpus-files.ts';
import { type CorpusPosition, documents } from './corpus.ts';
import { covarianceFolder, modelName, unlessDamaged, writeCovariance } from './covariance-files.ts';
import { type CorpusBuild, readState, writeState } from './covariance-state.ts';
import { buildKey, factsOf, finished, targetsOf } from './covariance-targets.ts';
import type { BuildJob, BuiltFile, Target } from './covariance-targets.ts';
import { type Lock, takeLock } from './lock.ts';

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
    checkResumable(job, resume, path);
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
      await writeCovariance(target, facts, identity.shards ? { 'S.high': high, 'S.low': low } : { C });
      files.push({ path: target, key: await covarianceKey(identity), facts, reused: false });
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
