/** The project's own cache folder, and what small things lie in it: sampled contexts, layers that sweeps named. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import process from 'node:process';
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { writeAtomic } from './atomic.ts';
import { exists, readWhole } from './file.ts';

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

/** Of a file that is kept here: some kilobytes. */
const MOST_BYTES = 2 ** 22;

/** Contexts, or groups of them. */
export const CONTEXTS = v.array(v.string());
export const CONTEXT_GROUPS = v.array(v.array(v.string()));

/**
 * Contexts of the cache, or those that `sample` gives, which are then in the cache.
 *
 * A file of it carries the checksum of its contexts: others would change every edit without a word.
 */
export async function cachedContexts<T>(
  path: string,
  schema: v.GenericSchema<unknown, T>,
  sample: () => Promise<T>,
  onNotice: (text: string) => void,
): Promise<T> {
  const cached = await readContexts(path, schema);
  if (cached === 'damaged') onNotice(`${path} was changed or damaged, and is written again.`);
  else if (cached !== undefined) return cached;
  const contexts = await sample();
  const content = { contexts, sha256: hashOf(contexts) };
  // A cache that cannot be written is no error: the contexts are sampled again next time.
  await writeAtomic(path, `${JSON.stringify(content, undefined, 1)}\n`).catch(() => undefined);
  return contexts;
}

async function readContexts<T>(
  path: string,
  schema: v.GenericSchema<unknown, T>,
): Promise<T | 'damaged' | undefined> {
  if (!(await exists(path))) return undefined;
  const json = await readJson(path);
  if (Array.isArray(json)) return undefined; // as version 0.1.0 wrote them: nothing says that they are whole
  const { success, output } = v.safeParse(v.object({ contexts: schema, sha256: v.string() }), json);
  if (!success) return 'damaged';
  const { contexts, sha256 } = output;
  return sha256 === hashOf(contexts) ? contexts : 'damaged';
}

/** undefined for a file that is not there, or no JSON. */
async function readJson(path: string): Promise<unknown> {
  try {
    return parseJson(await readWhole(path, MOST_BYTES, (what) => new Error(what)));
  } catch {
    return undefined;
  }
}

function hashOf(contexts: unknown): string {
  return createHash('sha256').update(JSON.stringify(contexts)).digest('hex');
}

const SWEPT = v.object({ layer: v.pipe(v.number(), v.integer(), v.minValue(0)) });

/** Where the layers lie that sweeps named, a file a model. */
const layersFolder = (): string => join(cacheFolder(), 'layers');

/**
 * The edit layer that a sweep named for a model.
 *
 * @param sha256 of its weights; not asked for where no sweep was ever kept
 */
export async function readSweptLayer(sha256: () => Promise<string>): Promise<number | undefined> {
  const files = await readdir(layersFolder()).catch(() => []);
  if (files.length === 0) return undefined;
  const kept = await readJson(join(layersFolder(), `${await sha256()}.json`));
  const swept = v.safeParse(SWEPT, kept);
  return swept.success ? swept.output.layer : undefined;
}

/** Keeps what a sweep found; a cache that cannot be written is no error. */
export async function writeSweptLayer(sha256: string, found: { readonly layer: number }): Promise<void> {
  const path = join(layersFolder(), `${sha256}.json`);
  await writeAtomic(path, `${JSON.stringify(found, undefined, 1)}\n`).catch(() => undefined);
}
