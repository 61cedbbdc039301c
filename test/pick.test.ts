import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/errors.ts';
import { NO_ID, argmaxRows, logsumexp, nll } from '../src/models/losses.ts';
import { empty, readU32 } from '../src/tensor/tensor.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import * as reference from './reference/losses.ts';

const test = suite('pick');

/** The definition: of equal logits the lowest id. */
function firstLargest(row: Float32Array): number {
  return row.reduce((best, x, id) => (x > row[best]! ? id : best), 0);
}

for (const WG of [8, 32, 128, 256])
  test(`argmax at every shape, workgroups of ${WG}`, async () => {
    for (const [rows, v] of [
      [1, 1],
      [3, 127],
      [2, 257],
      [3, 50257],
    ] as const)
      await gpu.scope(async (s) => {
        const x = noise(rows * v, v, -100, 4);
        // Ties: with a neighbour in another thread, and a stride apart in the same one.
        for (const at of [v - 1, v >> 1, Math.max(0, (v >> 1) - WG)]) x[at] = 50;
        const y = wide(s, [rows]);
        gpu.run(
          'models/argmax',
          { logits: tensor(s, x, [rows, v]), y: y.t },
          { rows, v },
          { groups: rows, overrides: { WG } },
        );
        const want = Array.from({ length: rows }, (_, r) => firstLargest(x.subarray(r * v, r * v + v)));
        assert.equal([...(await readU32(gpu, y.t))].slice(0, rows), want);
        await y.canaries();
      });
  });

test('argmax of more rows than one grid dimension holds', async () => {
  await gpu.scope(async (s) => {
    const rows = 65_537;
    const x = noise(rows * 2, 3);
    const got = await readU32(gpu, argmaxRows(s, tensor(s, x, [rows, 2])));
    for (const r of [0, 65_534, 65_535, 65_536])
      assert.is(got[r], firstLargest(x.subarray(2 * r, 2 * r + 2)));
  });
});

test('argmax of damaged logits names no token', async () => {
  const v = 301;
  const rows = [
    [[7, NaN]],
    [[300, Infinity]],
    [[0, NaN]],
    [
      [0, -Infinity],
      [9, 2e38],
    ],
  ];
  const x = noise(rows.length * v, 5);
  rows.forEach((list, r) => list.forEach(([at, value]) => (x[r * v + at!] = value!)));
  await gpu.scope(async (s) => {
    const got = await readU32(gpu, argmaxRows(s, tensor(s, x, [rows.length, v])));
    assert.equal([...got], [NO_ID, NO_ID, NO_ID, 9]);
  });
});

test('nll looks targets up in any order, rows repeated or skipped', async () => {
  await gpu.scope(async (s) => {
    const [R, v] = [5, 301];
    const x = noise(R * v, 4, -100, 4);
    const rows = Uint32Array.of(4, 0, 4, 2, 2, 2);
    const targets = Uint32Array.of(300, 0, 17, 299, 5, 5);
    const logits = tensor(s, x, [R, v]);
    const want = [...rows].map(
      (row, i) => -reference.logSoftmax(x.subarray(row * v, row * v + v))[targets[i]!]!,
    );
    // x − m is about 40 at most and rounds once, as do l and their difference.
    const got = await read(
      gpu,
      nll(s, logits, tensor(s, rows, [6], 'rows'), tensor(s, targets, [6], 'targets')),
    );
    allclose('nll', got, want, { reduce: 40 ** 2, scale: 1 });
    assert.is(got[4], got[5]);
    for (const WG of [32, 256]) {
      const y = wide(s, [6]);
      gpu.run(
        'models/nll',
        {
          logits,
          logsumexp: logsumexp(s, logits),
          rows: tensor(s, rows, [6]),
          targets: tensor(s, targets, [6]),
          y: y.t,
        },
        { n: 6, v },
        { threads: 6, overrides: { WG } },
      );
      assert.equal((await read(gpu, y.t)).slice(0, 6), got);
      await y.canaries();
    }
    assert.throws(
      () => nll(s, logits, empty(s, [2], 'rows', 'u32'), empty(s, [3], 'targets', 'u32')),
      (error: unknown) => error instanceof ShapeError,
    );
  });
});

test.run();
