/** The buffer pool: what is reused, and what goes when too much lies idle. And devices that go. */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Pool } from '../src/gpu/buffers.ts';
import { gpu } from './gpu.ts';

const test = suite('pool');
const KIB = 1024;

/** A pool that keeps at most `limit` bytes. */
function poolOf(limit: number): Pool {
  return new Pool(gpu.device, () => undefined, 'this adapter', limit);
}

test('a returned buffer serves the next block of its size', () => {
  const pool = poolOf(64 * KIB);
  const first = pool.take(16 * KIB, 'first');
  pool.give(first);
  assert.is(pool.take(16 * KIB - 4, 'second').buffer, first.buffer);
  assert.is(pool.liveBytes, 16 * KIB - 4);
  assert.is(pool.idleBytes, 0);
});

test('over the limit the sizes go that were returned longest ago, never what just came', () => {
  const pool = poolOf(52 * KIB);
  const [old, two, three] = [32, 16, 8].map((kib) => pool.take(kib * KIB, `${kib} KiB`));
  if (!old || !two || !three) throw new Error('three blocks');
  pool.give(old);
  pool.give(two); // 48 of 52 KiB
  pool.give(three); // 56: the oldest goes
  assert.is(pool.idleBytes, 24 * KIB);
  assert.is(pool.take(8 * KIB, 'newest').buffer, three.buffer);
  assert.is(pool.take(16 * KIB, 'middle').buffer, two.buffer);
  assert.is.not(pool.take(32 * KIB, 'oldest').buffer, old.buffer);
});

test('sizes that come and go do not push out one in steady use', () => {
  const pool = poolOf(96 * KIB);
  let steady = pool.take(16 * KIB, 'steady');
  const { buffer } = steady;
  for (const kib of [64, 32, 8, 64, 4, 32, 64]) {
    pool.give(pool.take(kib * KIB, 'passing'));
    pool.give(steady);
    steady = pool.take(16 * KIB, 'steady');
    assert.is(steady.buffer, buffer, `after ${kib} KiB`);
    assert.ok(pool.idleBytes <= 96 * KIB);
  }
});

test('sizes are rounded to powers of two, from 4 MiB on to eighths of one', () => {
  const pool = poolOf(64 * KIB);
  const size = (bytes: number): number | undefined => pool.take(bytes, 'x').buffer?.size;
  for (const [bytes, rounded] of [
    [1, 256],
    [257, 512],
    [17 * KIB, 32 * KIB],
    [4096 * KIB, 4096 * KIB],
    [4097 * KIB, 4608 * KIB],
    [8192 * KIB, 8192 * KIB],
    [8193 * KIB, 9216 * KIB],
  ] as const)
    assert.is(size(bytes), rounded);
});

test('what is larger than the limit is not kept, and drain gives everything back', () => {
  const pool = poolOf(64 * KIB);
  pool.give(pool.take(16 * KIB, 'small'));
  pool.give(pool.take(128 * KIB, 'large'));
  assert.is(pool.idleBytes, 16 * KIB);
  pool.drain();
  assert.is(pool.idleBytes, 0);
  assert.is(pool.liveBytes, 0);
});

test('a device that was let go is collected, and the process goes on', () => {
  const twice = `
    const { openGpu } = await import(${JSON.stringify(new URL('../src/gpu/node.ts', import.meta.url).href)});
    for (const _ of [1, 2]) await openGpu().then((gpu) => gpu.destroy());
    for (let i = 0; i < 5; i += 1) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    console.log('alive');`;
  const words = ['--expose-gc', '--import', 'tsx', '--input-type', 'module', '--eval', twice];
  const { stdout, signal } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.equal([stdout, signal], ['alive\n', null]);
});

test.run();
