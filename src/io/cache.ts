/** The project's own cache folder, and the sampled contexts that lie in it. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { writeAtomic } from './atomic.ts';

/** As `process.env` is; declared here so that our declarations stand without Node's types. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** `$PALIMPSEST_CACHE`, else `$XDG_CACHE_HOME/palimpsest`, else `~/.cache/palimpsest`; an empty variable counts as unset. */
export function cacheFolder(env: Environment = process.env): string {
  const { PALIMPSEST_CACHE, XDG_CACHE_HOME } = env;
  return PALIMPSEST_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'palimpsest');
}

/** Where the contexts lie that a model gives for a seed and a version of the sampling. */
export function contextsFile(sha256: string, seed: number, version: number): string {
  return join(cacheFolder(), 'contexts', `${sha256}.seed-${seed}.v${version}.json`);
}

/** The text of a cached file, or undefined when there is none. */
export async function readContexts(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

/** A cache that cannot be written is no error: the contexts are sampled again next time. */
export async function writeContexts(path: string, contexts: readonly string[]): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(contexts, undefined, 1)}\n`).catch(() => undefined);
}
