/** The project's own cache folder. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

/** `$PALIMPSEST_CACHE`, else `$XDG_CACHE_HOME/palimpsest`, else `~/.cache/palimpsest`; an empty variable counts as unset. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const { PALIMPSEST_CACHE, XDG_CACHE_HOME } = env;
  return PALIMPSEST_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'palimpsest');
}
