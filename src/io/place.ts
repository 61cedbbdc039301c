/** Where a path leads: what a file is, whatever names and links it goes by. */
import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

export interface Place {
  /** Links followed; of what is not there yet, the folders above it. */
  readonly path: string;
  /** `device`: of characters, as a terminal is. `other`: a disk, a socket, or what cannot be looked at. */
  readonly kind: 'nothing' | 'file' | 'folder' | 'fifo' | 'device' | 'other';
  /** Device and inode: the same for every name of a file. Empty where there is none. */
  readonly id: string;
  readonly bytes: number;
  /** Who may read and write it. */
  readonly mode: number | undefined;
}

/** As many links as Linux follows. */
const MOST_LINKS = 40;

/** Looks at a path. It never fails: what cannot be looked at is `other`, and says so when it is opened. */
export async function placeOf(path: string): Promise<Place> {
  let at = resolve(path);
  for (let links = 0; links <= MOST_LINKS; links += 1) {
    try {
      const found = await stat(at);
      const kind = kindOf(found);
      // What lies below /proc/self/fd has no path of its own, and is opened by its link.
      const real = kind === 'file' || kind === 'folder' ? await realpath(at).catch(() => at) : at;
      const mode = found.mode & 0o777;
      return { path: real, kind, id: `${found.dev}:${found.ino}`, bytes: found.size, mode };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const nothing: Place = { path: at, kind: 'nothing', id: '', bytes: 0, mode: undefined };
      if (code === 'ENOTDIR') return nothing;
      if (code !== 'ENOENT') return { ...nothing, kind: 'other' };
      const link = await lstat(at).then(
        (it) => it.isSymbolicLink(),
        () => false,
      );
      if (!link) return { ...nothing, path: await realFolder(at) };
      at = resolve(dirname(at), await readlink(at));
    }
  }
  return { path: at, kind: 'other', id: '', bytes: 0, mode: undefined };
}

function kindOf(found: Stats): Place['kind'] {
  if (found.isFile()) return 'file';
  if (found.isDirectory()) return 'folder';
  if (found.isFIFO()) return 'fifo';
  return found.isCharacterDevice() ? 'device' : 'other';
}

/** A path that is not there, with the links among its folders followed. */
async function realFolder(path: string): Promise<string> {
  const folder = dirname(path);
  if (folder === path) return path;
  return join(await realpath(folder).catch(() => realFolder(folder)), basename(path));
}
