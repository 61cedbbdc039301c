/** The project's own cache folder, and the sampled contexts that lie in it. */
import { readFile } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import process from 'node:process';
import { UsageError } from '../errors.ts';
import { writeAtomic } from './atomic.ts';

/** As `process.env` is; declared here so that our declarations stand without Node's types. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** `$PALIMPSEST_CACHE`, else `$XDG_CACHE_HOME/palimpsest`, else `~/.cache/palimpsest`; an empty variable counts as unset. */
export function cacheFolder(env: Environment = process.env): string {
  const { PALIMPSEST_CACHE, XDG_CACHE_HOME } = env;
  return PALIMPSEST_CACHE || join(XDG_CACHE_HOME || join(homeFolder(), '.cache'), 'palimpsest');
}

/**
 * `HOME`, else what the system knows of the user: with an empty HOME, caches must not go into the working folder.
 *
 * @throws UsageError where neither is a folder's full path
 */
export function homeFolder(): string {
  const found = [homedir, () => userInfo().homedir].map(attempt).find((path) => isAbsolute(path));
  if (found !== undefined) return found;
  throw new UsageError(
    'cache: expected the home folder of the user in HOME, found none. Set HOME, or PALIMPSEST_CACHE and HF_HOME to folders of your choice.',
  );
}

/** userInfo throws for a user that the system does not know, as containers have them. */
function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

/** Where the contexts lie that a model gives for a seed and a version of the sampling. */
export function contextsFile(sha256: string, seed: number, version: number | string): string {
  return join(cacheFolder(), 'contexts', `${sha256}.seed-${seed}.v${version}.json`);
}

/** The text of a cached file, or undefined when there is none. */
export async function readContexts(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

/** A cache that cannot be written is no error: the contexts are sampled again next time. */
export async function writeContexts(
  path: string,
  contexts: readonly (string | readonly string[])[],
): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(contexts, undefined, 1)}\n`).catch(() => undefined);
}
