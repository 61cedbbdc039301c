import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packRows, tilesOf, uploadBatch } from '../src/models/batch.ts';
import { readU32 } from '../src/tensor/tensor.ts';
import { gpu } from './gpu.ts';

const test = suite('batch');
const ROWS = [[5, 6, 7], [], [8], [9, 10]];

test('whole rows: every token sees its row up to itself', () => {
  const batch = packRows(ROWS);
  assert.equal([...batch.ids], [5, 6, 7, 8, 9, 10]);
  assert.equal([...batch.positions], [0, 1, 2, 0, 0, 1]);
  assert.equal([...batch.rowStarts], [0, 3, 3, 4, 6]);
  assert.equal([...batch.spans], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 3, 1, 0, 0, 4, 1, 0, 0, 4, 2]);
  assert.equal([...batch.followers], [0, 3, 1, 2, 2, 1, 3, 1, 4, 2, 5, 1]);
});

test('suffixes: the cache holds the prefixes one after another', () => {
  const batch = packRows([[5, 6, 7], [8], [9, 10], [11, 12, 13]], { from: [2, 0, 2, 1] });
  assert.equal([...batch.ids], [7, 8, 12, 13]);
  assert.equal([...batch.positions], [2, 0, 1, 2]);
  assert.equal([...batch.rowStarts], [0, 1, 2, 2, 4]);
  assert.equal([...batch.spans], [0, 2, 0, 1, 0, 0, 1, 1, 4, 1, 2, 1, 4, 1, 2, 2]);
  assert.equal([...batch.followers], [0, 1, 1, 1, 2, 2, 3, 1]);
});

test('a cache with gaps: rows begin where the caller says', () => {
  const batch = packRows(
    [
      [5, 6, 7],
      [8, 9],
    ],
    { from: [2, 1], cacheStart: [0, 64] },
  );
  assert.equal([...batch.spans], [0, 2, 0, 1, 64, 1, 1, 1]);
});

test('spans and followers are each other’s transpose', () => {
  const batch = packRows([[1, 2, 3, 4, 5], [6], [7, 8, 9]], { from: [1, 0, 0] });
  const pairs = (of: Uint32Array, width: number, [first, count]: [number, number], flip: boolean): string[] =>
    Array.from({ length: of.length / width }, (_, i) =>
      Array.from({ length: of[width * i + count]! }, (_, n) => of[width * i + first]! + n).map((j) =>
        flip ? `${j} ${i}` : `${i} ${j}`,
      ),
    ).flat();
  assert.equal(pairs(batch.spans, 4, [2, 3], false).sort(), pairs(batch.followers, 2, [0, 1], true).sort());
});

test('tiles cut every row, and never span two', () => {
  const { rowStarts } = packRows([[1, 2, 3, 4, 5], [], [6], [7, 8]]);
  assert.equal([...tilesOf(rowStarts, 2)], [0, 2, 2, 2, 4, 1, 5, 1, 6, 2]);
  assert.equal([...tilesOf(rowStarts, 8)], [0, 5, 5, 1, 6, 2]);
});

test('what cannot be packed is refused', () => {
  assert.throws(() => packRows([]), /no token/);
  assert.throws(() => packRows([[1, 2]], { from: [2] }), /no token/);
  assert.throws(() => packRows([[1, 2]], { from: [3] }), /row 0 has 2 tokens; 3/);
  assert.throws(() => packRows([[1], [2]], { from: [0] }), /2 rows, but 1 prefixes/);
});

test('the device holds the same numbers', async () => {
  await gpu.scope(async (s) => {
    const batch = packRows(ROWS);
    const there = uploadBatch(s, batch);
    assert.is(there.tokens, 6);
    for (const name of ['ids', 'positions', 'spans', 'followers'] as const)
      assert.equal(await readU32(gpu, there[name]), batch[name], name);
    assert.equal(await readU32(gpu, there.tiles), tilesOf(batch.rowStarts, there.tileSize));
    assert.is(there.keysSeen, 1 + 2 + 3 + 1 + 1 + 2);
  });
});

test.run();
