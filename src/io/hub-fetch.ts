/**
 * Downloads a model into the Hugging Face cache, as Python would leave it there. This is the one door for what comes from
 * the network: names and hashes by their form, sizes before and bytes after, one process at a time.
 */
import { mkdir, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { ModelError } from '../errors.ts';
import { writeAtomic } from './atomic.ts';
import { download, type RemoteFile } from './download.ts';
import { openHub, type Hub } from './hub-api.ts';
import { findSnapshot, isCommit, repositoryFolder } from './hub-cache.ts';
import type { HubModel, HubOptions } from './hub.ts';
import { takeLock } from './lock.ts';
import { CONVERT, OPTIONAL_FILES, PICKLE, REQUIRED_FILES } from './model-folder.ts';
import { INDEX_FILE, WEIGHTS_FILE, readIndex } from './weights-files.ts';

/**
 * Asks the hub which commit a revision is, fetches what the cache lacks of it, and writes the ref.
 *
 * @param ids as from `cacheIds`
 * @throws ModelError if the model lacks a file, or one is not what the hub promises; else what `fetch` throws
 */
export async function fetchModel(
  cache: string,
  ids: readonly string[],
  { revision = 'main', env = process.env, signal, onProgress, onNotice }: HubOptions,
): Promise<HubModel> {
  const hub = await openHub(ids, env, signal);
  const commit = isCommit(revision) ? revision : await hub.commitOf(revision);
  const repository = repositoryFolder(cache, hub.name);
  const cached = await findSnapshot(cache, ids, commit);
  if (cached?.missing.length === 0) {
    await writeRef(cached.repository, revision, commit);
    return cached;
  }
  const onWait = (holder: string): void => onNotice?.(`waiting for ${holder}, which fetches this model`);
  const lock = await takeLock(join(repository, 'palimpsest.lock'), { signal, onWait });
  try {
    // Whoever held the lock may have fetched it.
    const now = await findSnapshot(cache, [hub.name], commit);
    if (now?.missing.length !== 0) await fetchFiles(hub, commit, repository, { signal, onProgress });
    signal?.throwIfAborted();
    await writeRef(repository, revision, commit);
    return { folder: join(repository, 'snapshots', commit), commit };
  } finally {
    await lock.release();
  }
}

async function fetchFiles(
  hub: Hub,
  commit: string,
  repository: string,
  { signal, onProgress }: HubOptions,
): Promise<void> {
  const folder = join(repository, 'snapshots', commit);
  const possible = [WEIGHTS_FILE, INDEX_FILE, PICKLE, `${PICKLE}.index.json`];
  const offered = await hub.files(commit, [...REQUIRED_FILES, ...OPTIONAL_FILES, ...possible]);
  const has = (path: string): boolean => offered.some((file) => file.path === path);
  const lacking = REQUIRED_FILES.filter((path) => !has(path));
  if (!has(WEIGHTS_FILE) && !has(INDEX_FILE))
    throw await withoutSafetensors(hub, has(PICKLE) || has(`${PICKLE}.index.json`));
  if (lacking.length > 0)
    throw new ModelError(
      `model ${hub.name}: expected ${REQUIRED_FILES.join(', ')} on the hub, but it has no ${lacking.join(', ')}. ` +
        'Save the model with a fast tokenizer (save_pretrained) and give --model that folder.',
      'incomplete_model',
    );
  let [done, total] = [0, 0];
  const get = async (files: readonly RemoteFile[]): Promise<void> => {
    for (const file of files) {
      const onBytes = (bytes: number): void => onProgress?.({ file: file.path, bytes: done + bytes, total });
      // A blob under its hash, and a link to it under the file's name.
      const blob = join(repository, 'blobs', file.oid);
      const found = await stat(blob).catch(() => undefined);
      const options = { signal, onBytes, headers: hub.headers };
      if (found?.size !== file.size) await download(hub.url(commit, file.path), blob, file, options);
      await mkdir(folder, { recursive: true });
      await rm(join(folder, file.path), { force: true });
      await symlink(join('..', '..', 'blobs', file.oid), join(folder, file.path));
      onBytes(file.size);
      done += file.size;
    }
  };
  const own = offered.filter(({ path }) => !path.startsWith(PICKLE));
  const sum = (files: readonly RemoteFile[]): number => files.reduce((bytes, { size }) => bytes + size, 0);
  total = sum(own);
  if (has(WEIGHTS_FILE)) return get(own.filter(({ path }) => path !== INDEX_FILE));
  await get(own.filter(({ path }) => path === INDEX_FILE));
  const { files: names } = await readIndex(join(folder, INDEX_FILE));
  const shards = await hub.files(commit, names);
  const absent = names.filter((name) => !shards.some(({ path }) => path === name));
  if (absent.length > 0)
    throw new ModelError(
      `model ${hub.name}: expected the ${names.length} files that ${INDEX_FILE} names on the hub, but it has no ${absent.slice(0, 3).join(', ')}. Take another --revision.`,
      'incomplete_model',
    );
  total += sum(shards);
  await get([...own.filter(({ path }) => path !== INDEX_FILE), ...shards]);
}

async function withoutSafetensors(hub: Hub, pickle: boolean): Promise<ModelError> {
  const begin = `model ${hub.name}: expected ${WEIGHTS_FILE} on the hub, but it has no ${WEIGHTS_FILE}`;
  if (!pickle) return new ModelError(`${begin}. Name another model.`, 'incomplete_model');
  const revision = await proposalWithSafetensors(hub).catch(() => undefined);
  const advice = revision
    ? `Its pull request ${revision.split('/').at(-1)} has them: --revision ${revision}.`
    : `No pull request of it has them either. ${CONVERT}`;
  return new ModelError(
    `${begin}, only ${PICKLE}, a pickle, which is not read. ${advice}`,
    'incomplete_model',
  );
}

/** Many older models have their safetensors in a pull request that a bot made. */
async function proposalWithSafetensors(hub: Hub): Promise<string | undefined> {
  for (const revision of (await hub.proposals()).slice(0, 8)) {
    const files = await hub.files(revision, [WEIGHTS_FILE, INDEX_FILE]);
    if (files.length > 0) return revision;
  }
  return undefined;
}

/** Without a ref an offline run finds nothing under a branch's name. A shared cache may be read-only: then there is none. */
async function writeRef(repository: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  await writeAtomic(join(repository, 'refs', revision), commit).catch(() => undefined);
}
