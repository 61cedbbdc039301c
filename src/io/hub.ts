/** A model id of the Hugging Face hub -> a folder in the Hugging Face cache, downloaded when it is not there yet. */
import process from 'node:process';
import { ModelError, PalimpsestError, UsageError } from '../errors.ts';
import type { Environment } from './cache.ts';
import { cacheIds, findSnapshot, hubCacheFolder, hubEndpoint, isCommit, offlineReason } from './hub-cache.ts';

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
  /** Why the model may not be fetched, though nobody said --offline: its id was not typed, for one. */
  readonly unasked?: string | undefined;
  readonly env?: Environment | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Told when the hub does not answer and a cached snapshot is used instead. */
  readonly onNotice?: ((text: string) => void) | undefined;
  /** Ends a download at once; what came is kept and gone on from next time. */
  readonly signal?: AbortSignal | undefined;
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
  const { revision = 'main', env = process.env, unasked, onNotice } = options;
  checkId(id, revision);
  const cache = hubCacheFolder(env);
  const ids = cacheIds(id);
  const cached = await findSnapshot(cache, ids, revision);
  const complete = cached?.missing.length === 0 ? cached : undefined;
  const offline = offlineReason(options.offline ?? false, env);
  if (unasked !== undefined && !offline) {
    if (complete) return complete;
    throw new ModelError(
      `model ${id} (${revision}): expected it in the cache ${cache}, but it is not there, and ${unasked}. ` +
        `Say --fetch to download it, or name it with --model.`,
      'not_fetched',
    );
  }
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
    const { fetchModel } = await import('./hub-fetch.ts'); // only when needed: the hub's package is large
    return await fetchModel(cache, ids, options);
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
  const unwritable = error instanceof UsageError && error.code === 'unwritable';
  if (error instanceof PalimpsestError && !unwritable) return error;
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
