/** A model id of the Hugging Face hub -> a folder in the Hugging Face cache, downloaded when it is not there yet. */
import { realpath, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import { ModelError, PalimpsestError, UsageError } from '../errors.ts';
import { writeAtomic } from './atomic.ts';
import type { Environment } from './cache.ts';
import { sha256File } from './file.ts';
import {
  cacheIds,
  findSnapshot,
  hubCacheFolder,
  hubEndpoint,
  hubToken,
  isCommit,
  offlineReason,
  repositoryFolder,
} from './hub-cache.ts';
import { OPTIONAL_FILES, REQUIRED_FILES } from './model-folder.ts';

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

export interface HubOptions {
  /** A branch, a tag or a commit. */
  readonly revision?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly env?: Environment | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Told when the hub does not answer and a cached snapshot is used instead. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

/**
 * Finds a model in the cache or downloads it there.
 *
 * A commit that is cached needs no network. A branch is looked up on the hub, so that the newest commit is used; offline,
 * or when the hub does not answer, the commit that the cache's `refs/` remembers.
 *
 * @throws UsageError if the id is none; ModelError if the model is neither cached nor to be had
 */
export async function resolveHubModel(id: string, options: HubOptions = {}): Promise<HubModel> {
  const { revision = 'main', env = process.env, onProgress, onNotice } = options;
  checkId(id, revision);
  const cache = hubCacheFolder(env);
  const ids = cacheIds(id);
  const cached = await findSnapshot(cache, ids, revision);
  const complete = cached?.missing.length === 0 ? cached : undefined;
  const offline = offlineReason(options.offline ?? false, env);
  if (complete && (offline || isCommit(revision))) return complete;
  if (offline) {
    const found = cached ? `its snapshot lacks ${cached.missing.join(', ')}` : 'it is not there';
    throw new ModelError(
      `model ${id} (${revision}): expected it in the cache ${cache}, but ${found}, and ${offline} forbids the network. ` +
        `Run once online, without ${offline}, or give --model a folder.`,
      'offline',
    );
  }
  try {
    return await downloadModel({ cache, ids, revision, env, onProgress });
  } catch (error) {
    const reason = noAnswer(error);
    if (reason === undefined) throw hubError(id, revision, cache, error);
    const endpoint = hubEndpoint(env);
    if (!complete) {
      throw new ModelError(
        `model ${id} (${revision}): expected it in the cache ${cache} or a network, but ${endpoint} does not answer (${reason}). ` +
          'Connect to the network, set HF_ENDPOINT to a mirror, or give --model a folder.',
        'network',
        { cause: error },
      );
    }
    onNotice?.(
      `${endpoint} does not answer (${reason}): using the cached ${id} at commit ${complete.commit}.`,
    );
    return complete;
  }
}

function checkId(id: string, revision: string): void {
  const part = /^[A-Za-z0-9][\w.-]*$/;
  const isPath = (text: string): boolean =>
    text.split('/').every((name) => part.test(name)) && !text.includes('..');
  if (!isPath(id) || id.split('/').length > 2 || id.includes('--')) {
    throw new UsageError(
      `model "${id}": expected a folder that exists, a known name, or a hub id such as openai-community/gpt2. Correct it.`,
    );
  }
  if (!isPath(revision)) {
    throw new UsageError(
      `model ${id}: revision "${revision}": expected a branch, a tag or a commit. Correct it.`,
    );
  }
}

/** Why the hub gave no answer at all, or undefined when it did answer. `fetch` hides the system's code in the cause. */
function noAnswer(error: unknown): string | undefined {
  const { message, cause, statusCode } = error as Error & { statusCode?: number };
  if (statusCode !== undefined && statusCode >= 500) return `status ${statusCode}`;
  if (!(error instanceof TypeError) || !['fetch failed', 'terminated'].includes(message)) return undefined;
  const { code, message: why } = (cause ?? {}) as Partial<NodeJS.ErrnoException>;
  return code ?? why ?? message;
}

function hubError(id: string, revision: string, cache: string, error: unknown): Error {
  if (error instanceof PalimpsestError) return error;
  const { statusCode, code, message } = error as NodeJS.ErrnoException & { statusCode?: number };
  const refused = statusCode === 401 || statusCode === 403 || statusCode === 404;
  let what = `the download failed: ${message}. Try again later`;
  if (refused) {
    what = `the hub has no such model or revision, or you may not read it (status ${statusCode}). Check the name; for a private or gated model set HF_TOKEN`;
  } else if (code !== undefined) {
    what = `the cache ${cache} cannot be written (${message}). Free space there, or set HF_HUB_CACHE to another folder`;
  }
  return new ModelError(`model ${id} (${revision}): expected it on the hub, but ${what}.`, 'hub', {
    cause: error,
  });
}

interface Wanted {
  readonly cache: string;
  /** As from `cacheIds`. */
  readonly ids: readonly string[];
  readonly revision: string;
  readonly env: Environment;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
}

/**
 * Downloads a model into the Hugging Face cache, as Python would leave it there: asks the hub which commit a revision is, fetches what the cache lacks of it, and writes the ref.
 *
 * The hub package would do none of these three: it asks the network for every branch name, and leaves no ref.
 *
 * @throws ModelError if the model lacks a file or one arrives damaged; else what the hub package throws
 */
async function downloadModel({ cache, ids, revision, env, onProgress }: Wanted): Promise<HubModel> {
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
