/**
 * The Hugging Face cache on this machine, and the settings that Python's `huggingface_hub` obeys.
 *
 *     models--openai-community--gpt2/  refs/main -> a commit, as text
 *                                      snapshots/<commit>/model.safetensors -> ../../blobs/<hash>
 *
 * @see huggingface_hub, constants.py and file_download.py
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homeFolder, type Environment } from './cache.ts';
import { exists } from './file.ts';
import { missingFiles } from './model-folder.ts';

/** `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub`; an empty variable counts as unset. */
export function hubCacheFolder(env: Environment): string {
  return expandHome(env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE'] || join(hubHome(env), 'hub'));
}

/** `HF_HOME`, else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`, on every system. */
function hubHome(env: Environment): string {
  return expandHome(
    env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || join(homeFolder(), '.cache'), 'huggingface'),
  );
}

/** `HF_ENDPOINT` without a trailing slash, else the public hub. */
export function hubEndpoint(env: Environment): string {
  return (env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, '');
}

/** `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `$HF_HOME/token`; undefined when there is none. */
export async function hubToken(env: Environment): Promise<string | undefined> {
  const path = expandHome(env['HF_TOKEN_PATH'] || join(hubHome(env), 'token'));
  const token = env['HF_TOKEN'] || (await readFile(path, 'utf8').catch(() => ''));
  return token.trim() || undefined;
}

/** Why the network must not be used, in the user's words, or undefined when it may. */
export function offlineReason(flag: boolean, env: Environment): string | undefined {
  if (flag) return '--offline';
  return ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'].find((name) =>
    /^(1|on|yes|true)$/i.test(env[name]?.trim() ?? ''),
  );
}

/** Ids under which the same repository may lie in the cache: Python names the folder by the id as it was typed. */
export function cacheIds(id: string): string[] {
  const OWNERS: Readonly<Record<string, string>> = { distilgpt2: 'distilbert' };
  const short = id.split('/').at(-1) as string;
  const owner = OWNERS[short] ?? (/^gpt2(-medium|-large|-xl)?$/.test(short) ? 'openai-community' : undefined);
  if (owner === undefined || (id !== short && id !== `${owner}/${short}`)) return [id];
  return id === short ? [short, `${owner}/${short}`] : [`${owner}/${short}`, short];
}

export interface Snapshot {
  /** The folder that holds `refs` and `snapshots`. */
  readonly repository: string;
  readonly folder: string;
  readonly commit: string;
  /** Required files that are not there; empty for a snapshot that can be opened. */
  readonly missing: readonly string[];
}

/** The folder of one repository in the cache. */
export function repositoryFolder(cache: string, id: string): string {
  return join(cache, `models--${id.replaceAll('/', '--')}`);
}

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * The best snapshot of a revision: the first complete one, else the first there is, else undefined.
 *
 * @param ids      as from `cacheIds`
 * @param revision a commit, or a branch or tag that `refs/` knows
 */
export async function findSnapshot(
  cache: string,
  ids: readonly string[],
  revision: string,
): Promise<Snapshot | undefined> {
  let partial: Snapshot | undefined;
  for (const id of ids) {
    const repository = repositoryFolder(cache, id);
    const ref = isCommit(revision)
      ? revision
      : await readFile(join(repository, 'refs', revision), 'utf8').catch(() => '');
    const commit = ref.trim();
    if (!isCommit(commit)) continue;
    const folder = join(repository, 'snapshots', commit);
    if (!(await exists(folder))) continue;
    const missing = await missingFiles(folder);
    if (missing.length === 0) return { repository, folder, commit, missing };
    partial ??= { repository, folder, commit, missing };
  }
  return partial;
}

function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homeFolder(), path.slice(1)) : path;
}
