/** The buffer pool: what is reused, and what goes when too much lies idle. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GpuError } from '../src/errors.ts';
import { Pool } from '../src/gpu/buffers.ts';
import { gpu } from './gpu.ts';

const test = suite('pool');
const KIB = 1024;

/** A pool that keeps at most `limit` bytes. */
function poolOf(limit: number): Pool {
  return new Pool(
    gpu.device,
    () => undefined,
    (bytes, label) => new GpuError(`${label}: ${bytes}`, 'out_of_memory'),
    limit,
  );
}

test('a returned buffer serves the next block of its size', () => {
  const pool = poolOf(64 * KIB);
  const first = pool.take(16 * KIB, 'first');
  pool.give(first);
  assert.is(pool.take(16 * KIB - 4, 'second').buffer, first.buffer);
  assert.is(pool.liveBytes, 16 * KIB - 4);
  assert.is(pool.idleBytes, 0);
  assert.is(pool.peakBytes, 16 * KIB);
});

test('over the limit the sizes go that were returned longest ago, never what just came', () => {
  const pool = poolOf(64 * KIB);
  const [old, two, three] = [32, 24, 16].map((kib) => pool.take(kib * KIB, `${kib} KiB`));
  if (!old || !two || !three) throw new Error('three blocks');
  pool.give(old);
  pool.give(two); // 56 of 64 KiB
  pool.give(three); // 72: the oldest goes
  assert.is(pool.idleBytes, 40 * KIB);
  assert.is(pool.take(16 * KIB, 'newest').buffer, three.buffer);
  assert.is(pool.take(24 * KIB, 'middle').buffer, two.buffer);
  assert.is.not(pool.take(32 * KIB, 'oldest').buffer, old.buffer);
});

test('a size in use stays, whatever else comes and goes', () => {
  const pool = poolOf(64 * KIB);
  const steady = pool.take(16 * KIB, 'steady').buffer;
  let block = { buffer: steady, bytes: 16 * KIB, label: 'steady', writes: 0 };
  for (let kib = 17; kib < 60; kib += 1) {
    pool.give(block);
    pool.give(pool.take(kib * KIB, 'passing'));
    block = pool.take(16 * KIB, 'steady') as typeof block;
    if (kib < 40) assert.is(block.buffer, steady, `after ${kib} KiB`);
    assert.ok(pool.idleBytes <= 64 * KIB);
  }
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

test.run();
