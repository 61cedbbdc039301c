/**
 * Keeps what Dawn says on its way to an adapter off the terminal: harmless remarks of its native code, which writes to
 * file descriptor 2 by itself and has no setting for it. Everything else that was written meanwhile follows afterwards.
 */
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Said of every adapter, or of a driver that is not there: the search for an adapter says so itself. With their traces. */
const HARMLESS =
  /^Warning: (?:maxDynamic\w+ artificially reduced|Couldn't load Vulkan|vkCreateInstance).*\n(?:[ \t]+at .*\n)*\n?/gm;

const STDERR = 2;

/**
 * Runs `work` while descriptor 2 of a terminal or a pipe leads to a file. Elsewhere `work` runs as it is: a socket cannot
 * be opened anew, a regular file would be opened at a place of its own, and without /proc there is no way back.
 */
export async function withoutRemarks<T>(work: () => Promise<T>): Promise<T> {
  let saved: number;
  let folder: string;
  try {
    const stderr = fstatSync(STDERR);
    if (stderr.isFile() || stderr.isSocket()) return work();
    saved = openSync(`/proc/self/fd/${STDERR}`, 'a');
    folder = mkdtempSync(join(tmpdir(), 'palimpsest-'));
  } catch {
    return work();
  }
  const file = join(folder, 'stderr');
  redirect(file);
  try {
    return await work();
  } finally {
    redirect(`/proc/self/fd/${saved}`);
    closeSync(saved);
    const rest = readFileSync(file, 'utf8').replaceAll(HARMLESS, '');
    if (rest !== '') writeSync(STDERR, rest);
    rmSync(folder, { recursive: true });
  }
}

/** Opens `path` as descriptor 2: the system gives the lowest number that is free. */
function redirect(path: string): void {
  closeSync(STDERR);
  const below: number[] = [];
  for (let fd = openSync(path, 'a'); fd !== STDERR; fd = openSync(path, 'a')) below.push(fd);
  below.forEach((fd) => closeSync(fd));
}
