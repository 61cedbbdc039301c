/**
 * One process at a time: a lock file beside what it guards.
 *
 * It names its holder. A lock whose process is gone (after a crash or kill -9) is taken over; so is one of another
 * machine whose holder has not refreshed it for some minutes. Whoever holds it asks `check` before it writes.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, lstat, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import * as v from 'valibot';
import { ModelError, UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { isAlive, makeFolder } from './atomic.ts';
import { exists, readWhole } from './file.ts';

/** What the lock file says of its holder. One that is not of ours says nothing: it is stale once silent. */
const HOLDER = v.fallback(
  v.object({
    id: v.string(),
    pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    host: v.string(),
    /** When the process began, so that a process number used again is not taken for it; empty where it is not known. */
    born: v.optional(v.string(), ''),
    since: v.string(),
  }),
  { id: '', pid: 0, host: '', born: '', since: 'an unknown time' },
);
type Holder = Readonly<v.InferOutput<typeof HOLDER>>;

/** A holder takes some hundred. */
const MOST_BYTES = 2 ** 16;

export interface Lock {
  /** @throws ModelError when another process has taken it: nothing may be written any more */
  readonly check: () => Promise<void>;
  readonly release: () => Promise<void>;
}

const REFRESH_MS = 20_000;
const WAIT_MS = 100;
const ATTEMPTS = 20;
/** A holder on another machine that has not refreshed its lock for so long is gone. */
const SILENT_MS = 10 * 60_000;

/**
 * Takes the lock, or says who has it.
 *
 * @param wait until the lock is free, and says once for whom; absent: a lock that is held is an error
 * @throws ModelError `locked` naming the process, its machine and since when; UsageError where no lock file can be
 */
export async function takeLock(
  path: string,
  wait?: { readonly signal: AbortSignal | undefined; readonly onWait: (holder: string) => void },
): Promise<Lock> {
  const mine: Holder = {
    id: randomBytes(8).toString('hex'),
    pid: process.pid,
    host: hostname(),
    born: birth(process.pid) ?? '',
    since: new Date().toISOString(),
  };
  await makeFolder(dirname(path));
  let waited = false;
  for (let attempt = 0; !(await create(path, mine)); attempt += 1) {
    const holder = await readHolder(path);
    if (holder === undefined) {
      await checkFree(path, attempt);
    } else if (attempt < ATTEMPTS && (await isGone(path, holder))) {
      await takeAway(path, holder);
    } else if (wait) {
      if (!waited) wait.onWait(`process ${holder.pid} on ${holder.host}`);
      waited = true;
      attempt = 0;
      await pause(WAIT_MS, undefined, wait.signal ? { signal: wait.signal } : {});
    } else
      throw new ModelError(
        `another process is at work here: process ${holder.pid} on ${holder.host} since ${holder.since} (${path}). ` +
          'Wait for it, or stop it and run this command again: it goes on from the state that was saved last.',
        'locked',
      );
  }
  const refresh = setInterval(
    () => void utimes(path, new Date(), new Date()).catch(() => undefined),
    REFRESH_MS,
  );
  refresh.unref();
  const held = async (): Promise<boolean> => (await readHolder(path))?.id === mine.id;
  return {
    check: async () => {
      if (await held()) return;
      throw new ModelError(
        `${path}: expected to hold this lock still, but another process took it: this one was silent for too long. ` +
          'Nothing more is written here; the other process goes on.',
        'lock_lost',
      );
    },
    release: async () => {
      clearInterval(refresh);
      if (await held()) await rm(path, { force: true });
    },
  };
}

/** Creates the file with its content in one step, or says that there is one. */
async function create(path: string, holder: Holder): Promise<boolean> {
  const temporary = `${path}.${holder.id}`;
  try {
    await writeFile(temporary, `${JSON.stringify(holder)}\n`, { flag: 'wx' });
    await link(temporary, path); // fails where there is a file, and never shows half of it
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    throw new UsageError(
      `${path}: expected a folder that may be written to, but ${code}. Choose another folder.`,
      'unwritable',
    );
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Where no holder can be read the lock was released just now, or something else stands in its place. */
async function checkFree(path: string, attempt: number): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found || (found.isFile() && attempt < ATTEMPTS)) return;
  const what = found.isDirectory() ? 'a folder' : found.isFile() ? 'one that cannot be read' : 'no file';
  throw new UsageError(
    `${path}: expected a lock file or none, there is ${what}. Remove it if no other process is at work here.`,
    'unwritable',
  );
}

async function readHolder(path: string): Promise<Holder | undefined> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isFile()) return undefined; // a FIFO would be waited for
  try {
    const bytes = await readWhole(path, MOST_BYTES, (what) => new SyntaxError(what));
    return v.parse(HOLDER, parseJson(bytes));
  } catch {
    return (await exists(path)) ? v.parse(HOLDER, undefined) : undefined;
  }
}

async function isGone(path: string, { pid, host, born }: Holder): Promise<boolean> {
  if (host === hostname()) return !isAlive(pid) || (born !== '' && birth(pid) !== born);
  const refreshed = await stat(path).catch(() => undefined);
  return refreshed === undefined || Date.now() - refreshed.mtimeMs > SILENT_MS;
}

/** When a process began, in ticks since the machine did; Linux only. */
function birth(pid: number): string | undefined {
  try {
    // The second field is the name in brackets and may hold blanks; the twentieth after it is the time.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Removes a lock whose holder is gone, but not one that another process made in its place meanwhile. */
async function takeAway(path: string, gone: Holder): Promise<void> {
  const aside = `${path}.${randomBytes(4).toString('hex')}.gone`;
  try {
    await rename(path, aside);
  } catch {
    return; // someone else was faster
  }
  const found = await readHolder(aside);
  if (found?.id !== gone.id) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}
