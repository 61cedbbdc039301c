/** Temporary folders for tests that read and write real files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';

/** Runs `use` with an empty folder and removes it afterwards, whatever happened. */
export async function withFolder(use: (folder: string) => Promise<unknown>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'palimpsest-test-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An empty folder for the tests of a suite, removed after them. */
export function folderOf({ after }: Pick<Test, 'after'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'palimpsest-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Nothing half-written: the folder holds these names and no others. */
export async function holdsOnly(folder: string, names: string[]): Promise<void> {
  assert.equal((await readdir(folder)).sort(), [...names].sort());
}

/** Fails unless `run` throws a `kind` whose message has every one of `words` in it. Gives the error back. */
export async function throws(
  run: () => unknown,
  kind: new (message: string) => Error,
  ...words: (string | RegExp)[]
): Promise<Error> {
  let error: unknown;
  try {
    await run();
  } catch (caught) {
    error = caught;
  }
  assert.instance(error, kind, `expected a ${kind.name}, got ${String(error)}`);
  const { message } = error as Error;
  for (const word of words) {
    const found = typeof word === 'string' ? message.includes(word) : word.test(message);
    assert.ok(found, `expected ${word} in: ${message}`);
  }
  return error as Error;
}
