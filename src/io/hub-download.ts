/** Downloads a model of the Hugging Face hub into the Hugging Face cache, as Python would leave it there. */
import { realpath, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ModelError } from '../errors.ts';
import { writeAtomic } from './atomic.ts';
import { OPTIONAL_FILES, REQUIRED_FILES } from './model-folder.ts';
import { findSnapshot, hubEndpoint, hubToken, isCommit, repositoryFolder } from './hub-cache.ts';
import { sha256File } from './file.ts';
import type { Environment } from './cache.ts';

/** Bytes fetched so far, of all files of the model. */
export interface HubProgress {
  readonly file: string;
  readonly bytes: number;
  readonly total: number;
}

export interface HubModel {
  readonly folder: string;
  readonly commit: string;
}

export interface Wanted {
  readonly cache: string;
  /** As from `cacheIds`. */
  readonly ids: readonly string[];
  readonly revision: string;
  readonly env: Environment;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
}

/**
 * Asks the hub which commit a revision is, fetches what the cache lacks of it, and writes the ref.
 *
 * The hub package would do none of these three: it asks the network for every branch name, and leaves no ref.
 *
 * @throws ModelError if the model lacks a file or one arrives damaged; else what the hub package throws
 */
export async function downloadModel({ cache, ids, revision, env, onProgress }: Wanted): Promise<HubModel> {
  const hub = await import('@huggingface/hub'); // only when needed: it is large
  const name = ids.find((id) => id.includes('/')) ?? (ids[0] as string);
  const accessToken = await hubToken(env);
  const common = { hubUrl: hubEndpoint(env), ...(accessToken ? { accessToken } : {}) };
  const commit = isCommit(revision)
    ? revision
    : (await hub.modelInfo({ name, revision, additionalFields: ['sha'], ...common })).sha;
  if (!isCommit(commit))
    throw new Error(`the hub names no commit for ${revision}, but ${JSON.stringify(commit)}`);

  const cached = await findSnapshot(cache, ids, commit);
  if (cached?.missing.length === 0) {
    await writeRef(cached.repository, revision, commit);
    return cached;
  }
  const repository = repositoryFolder(cache, name);
  const folder = join(repository, 'snapshots', commit);
  const paths = [...REQUIRED_FILES, ...OPTIONAL_FILES];
  const offered = await hub.pathsInfo({ repo: name, revision: commit, paths, ...common });
  const lacking = REQUIRED_FILES.filter((file) => !offered.some(({ path }) => path === file));
  if (lacking.length > 0) {
    throw new ModelError(
      `model ${name}: expected ${REQUIRED_FILES.join(', ')} on the hub, but it has no ${lacking.join(', ')}. ` +
        'Save the model as safetensors with a fast tokenizer (save_pretrained) and give --model that folder.',
      'incomplete_model',
    );
  }
  const total = offered.reduce((sum, { size }) => sum + size, 0);
  let bytes = 0;
  for (const { path: file } of offered) {
    const fetch = countingFetch((count) => onProgress?.({ file, bytes: (bytes += count), total }));
    await hub.downloadFileToCacheDir({
      repo: name,
      path: file,
      revision: commit,
      cacheDir: cache,
      fetch,
      ...common,
    });
    await verifyBlob(join(folder, file));
  }
  await writeRef(repository, revision, commit);
  return { folder, commit };
}

/** Without a ref an offline run finds nothing under a branch's name. A shared cache may be read-only: then there is none. */
async function writeRef(repository: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  await writeAtomic(join(repository, 'refs', revision), commit).catch(() => undefined);
}

/** A large file's blob is named by its SHA-256; the hub package does not look whether that is what arrived. */
async function verifyBlob(pointer: string): Promise<void> {
  const blob = await realpath(pointer);
  const expected = basename(blob);
  if (!/^[0-9a-f]{64}$/.test(expected)) return;
  const actual = await sha256File(blob);
  if (actual === expected) return;
  await rm(pointer, { force: true });
  await rm(blob, { force: true });
  throw new ModelError(
    `download ${basename(pointer)}: expected sha256 ${expected}, got ${actual}. It was removed: fetch it again.`,
    'checksum',
  );
}

/** `fetch` that reports the bytes of every body as they pass. */
function countingFetch(onBytes: (count: number) => void): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (!response.body) return response;
    const count = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        onBytes(chunk.length);
        controller.enqueue(chunk);
      },
    });
    const { status, statusText, headers, url } = response;
    const counted = new Response(response.body.pipeThrough(count), { status, statusText, headers });
    return Object.defineProperty(counted, 'url', { value: url }); // the hub package compares it, and a made Response has none
  };
}
