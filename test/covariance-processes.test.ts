/** Builds in real processes: killed and interrupted at random moments, and two at once. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile, readdir, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError } from '../src/errors.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import { readMatrices } from '../src/formats/covariance-file.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import { takeLock } from '../src/io/lock.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';
import { gpu } from './gpu.ts';
import { relativeError } from './reference/allclose.ts';
import { runBuild } from './run-build.ts';
import { tinyCheckpoint, tinyDocuments, tinyModel } from './tiny.ts';

const test = suite('covariance-processes');
const worker = fileURLToPath(new URL('covariance-worker.ts', import.meta.url));
const PIECES = 7;
const DOCUMENTS = tinyDocuments(900, 3);

interface Started {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** Settles when a line begins with `word`, or the process ends. */
  readonly said: (word: string) => Promise<void>;
  readonly ended: Promise<void>;
}

function start(folder: string): Started {
  const child = spawn(process.execPath, ['--import', 'tsx', worker, folder], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const lines: string[] = [];
  const waiting: { word: string; done: () => void }[] = [];
  const ended = new Promise<void>((resolve) => void child.on('close', () => resolve()));
  let rest = '';
  child.stdout.on('data', (part) => {
    const parts = (rest + String(part)).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    for (const { word, done } of waiting) if (lines.some((line) => line.startsWith(word))) done();
  });
  const said = (word: string): Promise<void> =>
    Promise.race([ended, new Promise<void>((done) => void waiting.push({ word, done }))]);
  return { child, lines, said, ended };
}

/** What a process killed in the middle of a write leaves beside the state. */
async function leaveBehind(folder: string): Promise<void> {
  const names = await readdir(folder, { recursive: true });
  const state = names.find((name) => name.endsWith('.state'))!;
  await writeFile(join(folder, `${state}.0123456789ab.tmp`), 'half of it');
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

test('7 pieces, killed and interrupted at random moments, give the C of one go', async () => {
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'corpus.txt'), DOCUMENTS.join('\n'));
    let kept = 0;
    let finished: string | undefined;
    const ends: string[] = [];
    for (let piece = 0; finished === undefined; piece += 1) {
      const { child, lines, said, ended } = start(folder);
      if (piece < PIECES - 1) {
        await said('saved');
        await pause(Math.random() * 150);
        child.kill(piece % 3 === 2 ? 'SIGTERM' : 'SIGKILL');
      }
      await ended;
      if (piece === 0) await leaveBehind(folder);
      const resumed = Number(lines.find((line) => line.startsWith('resumed'))?.split(' ')[1] ?? 0);
      // At most the state that was being written is lost, and never one that was reported.
      assert.ok(resumed >= kept, `resumed at ${resumed}, but ${kept} were kept before`);
      kept = Math.max(
        kept,
        ...lines.filter((line) => line.startsWith('saved')).map((line) => Number(line.split(' ')[1])),
      );
      const error = lines.find((line) => line.startsWith('error'));
      assert.ok(error === undefined || error.startsWith('error interrupted'), error);
      finished = lines.find((line) => line.startsWith('done'))?.slice(5);
      ends.push(finished ? 'done' : `${child.signalCode ?? 'SIGTERM'} at ${kept}`);
      assert.ok(piece < 20, ends.join(', '));
    }
    assert.ok(ends.length > PIECES / 2, `too few pieces: ${ends.join(', ')}`);

    const checkpoint = tinyCheckpoint();
    const model = await tinyModel(gpu, checkpoint);
    const corpus = await openCorpus([join(folder, 'corpus.txt')], { spool: folder });
    const out = join(folder, 'whole.safetensors');
    const [whole] = await runBuild({
      model,
      checkpoint,
      corpus,
      layers: [1],
      batch: 100,
      out,
      cache: folder,
      saveMs: 1e9,
    });
    model.destroy();
    const pieces = await openCovariance(finished);
    assert.equal(pieces.facts, whole!.facts);
    const [got, want] = [
      (await readMatrices(pieces))['C']!,
      (await readMatrices(await openCovariance(out)))['C']!,
    ];
    const error = relativeError(got, want);
    assert.ok(error <= 1e-6, `${error} after ${ends.join(', ')}`);
    assert.equal(got, want, 'the same batches in the same order give the same bits');
    await holdsOnly(join(finished, '..'), [finished.split('/').at(-1)!]); // no state, no lock, nothing temporary
  });
});

test('a second process on the same build refuses and says who is at work; the first one is not disturbed', async () => {
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'corpus.txt'), DOCUMENTS.join('\n'));
    const first = start(folder);
    await first.said('saved');
    first.child.kill('SIGSTOP');
    const second = start(folder);
    await second.ended;
    assert.is(second.lines.length, 1);
    assert.match(
      second.lines[0]!,
      new RegExp(`^error locked another process is at work here: process ${first.child.pid} on `),
    );
    first.child.kill('SIGCONT');
    await first.ended;
    assert.match(first.lines.at(-1)!, /^done /);
  });
});

/** A process number that belongs to nobody now. */
async function goneProcess(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.on('close', resolve));
  return child.pid!;
}

async function lockFile(folder: string, holder: object): Promise<string> {
  const path = join(folder, 'x.lock');
  await writeFile(path, JSON.stringify(holder));
  return path;
}

test('a lock whose process is gone is taken over, and so is one whose process number another process has now', async () => {
  await withFolder(async (folder) => {
    const since = '2026-11-23T00:00:00Z';
    const gone = { id: 'a', pid: await goneProcess(), host: hostname(), born: '', since };
    await (await takeLock(await lockFile(folder, gone))).release();
    const reused = { ...gone, pid: process.pid, born: '1' };
    if (process.platform === 'linux') await (await takeLock(await lockFile(folder, reused))).release();
    assert.equal(await readdir(folder), []);
    const alive = { ...gone, pid: process.pid };
    await throws(
      async () => takeLock(await lockFile(folder, alive)),
      ModelError,
      `process ${process.pid}`,
      since,
    );
  });
});

test('a lock of another machine is left alone until it has been silent for long', async () => {
  await withFolder(async (folder) => {
    const path = await lockFile(folder, { id: 'a', pid: 1, host: 'elsewhere', born: '', since: 'noon' });
    await throws(() => takeLock(path), ModelError, 'process 1 on elsewhere since noon');
    const long = new Date(Date.now() - 3_600_000);
    await utimes(path, long, long);
    const lock = await takeLock(path);
    await lock.check();
    // Taken away in turn: the holder notices before it writes, and leaves the other's lock where it is.
    await writeFile(path, JSON.stringify({ id: 'b', pid: 2, host: 'elsewhere' }));
    await throws(() => lock.check(), ModelError, 'another process took it');
    await lock.release();
    assert.match(await readFile(path, 'utf8'), '"id":"b"');
  });
});

test('of 8 that want a lock left behind at the same time one gets it', async () => {
  await withFolder(async (folder) => {
    for (let round = 0; round < 10; round += 1) {
      const path = await lockFile(folder, {
        id: `a${round}`,
        pid: await goneProcess(),
        host: hostname(),
        born: '',
        since: '',
      });
      const found = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(path)));
      const locks = found.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      assert.is(locks.length, 1);
      await locks[0]!.check();
      await locks[0]!.release();
    }
  });
});

test.run();
