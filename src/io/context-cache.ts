/** Sampled contexts, remembered by model, seed and the version of the sampling: a list of texts as JSON. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from './atomic.ts';
import { cacheFolder } from './cache.ts';

/** Where the contexts of a model and a seed lie. */
export function contextsFile(sha256: string, seed: number, version: number): string {
  return join(cacheFolder(), 'contexts', `${sha256}.seed-${seed}.v${version}.json`);
}

/** The text of a cached file, or undefined when there is none. */
export async function readContexts(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

/** A cache that cannot be written is no cache: the contexts are sampled again next time. */
export async function writeContexts(path: string, contexts: readonly string[]): Promise<boolean> {
  return writeAtomic(path, `${JSON.stringify(contexts, undefined, 1)}\n`).then(
    () => true,
    () => false,
  );
}
