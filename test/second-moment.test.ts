import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packSymmetric, readSymmetric, unpackSymmetric, zeroPanels } from '../src/edit/panels.ts';
import { SECOND_MOMENT, SecondMoment, addOuterProducts } from '../src/edit/second-moment.ts';
import { Tensor, read, upload } from '../src/tensor/tensor.ts';
import { gpu, noise, tensor } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { secondMoment } from './reference/linear-algebra.ts';

const test = suite('second moment');
let live = 0;
test.before.each(() => void (live = gpu.liveBytes));
test.after.each(() => assert.is(gpu.liveBytes, live, 'memory stays behind'));

test('panels hold a symmetric matrix and nothing beyond it', () => {
  for (const f of [1, 63, 64, 65, 130]) {
    const rows = new Float32Array(f * f);
    for (let i = 0; i < f; i += 1)
      for (let j = 0; j < f; j += 1) rows[i * f + j] = 1 + Math.min(i, j) * f + Math.max(i, j);
    const packed = packSymmetric(rows, f);
    const n = Math.ceil(f / 64);
    assert.is(packed.length, ((n * (n + 1)) / 2) * 64 * 64);
    assert.equal(unpackSymmetric(packed, f), rows);
    const stored = packed.filter((x) => x !== 0).length;
    let want = 0;
    for (let p = 0; p < n; p += 1) want += (f - 64 * p) * Math.min(64, f - 64 * p);
    assert.is(stored, want, 'padding is zero');
  }
  assert.throws(() => packSymmetric(new Float32Array(5), 2), /order 2/);
});

for (const rung of SECOND_MOMENT) {
  const fits = (f: number): boolean => rung.fits({ f, n: Math.ceil(f / 64) }, gpu.adapter);

  test(`${rung.kernel}: the sum of outer products, twice the same bits`, async () => {
    for (const [tokens, f] of [
      [1, 1],
      [5, 63],
      [3, 64],
      [7, 68],
      [33, 132],
      [514, 260],
      [9, 257],
    ] as const) {
      if (!fits(f)) continue;
      const keys = noise(tokens * f, f, 0.2);
      const run = (): Promise<Float32Array<ArrayBuffer>> =>
        gpu.scope(async (s) => {
          const sum = zeroPanels(s, f, 'sum');
          addOuterProducts(s, sum, tensor(s, keys, [tokens, f]), 0, tokens, rung);
          const packed = await read(gpu, sum.data);
          assert.equal(packSymmetric(unpackSymmetric(packed, f), f), packed, 'padding stays zero');
          return unpackSymmetric(packed, f);
        });
      const got = await run();
      allclose(`${tokens} x ${f}`, got, secondMoment(keys, f), { reduce: tokens, scale: 4 });
      assert.equal(await run(), got);
    }
  });

  test(`${rung.kernel}: adds to what is there, and reads only the tokens it is told`, async () => {
    const [tokens, f] = [11, 68];
    if (!fits(f)) return;
    const keys = noise(tokens * f, 1);
    const want = secondMoment(keys.slice(2 * f, 9 * f), f);
    await gpu.scope(async (s) => {
      const sum = zeroPanels(s, f, 'sum');
      const poisoned = keys.slice();
      poisoned.fill(NaN, 0, 2 * f);
      poisoned.fill(NaN, 9 * f);
      const t = tensor(s, poisoned, [tokens, f]);
      addOuterProducts(s, sum, t, 2, 5, rung);
      addOuterProducts(s, sum, t, 5, 9, rung);
      allclose('window', await readSymmetric(gpu, sum), want, { reduce: 8, scale: 4 });
    });
  });

  test(`${rung.kernel}: writes nothing behind the panels`, async () => {
    const f = 100;
    if (!fits(f)) return;
    await gpu.scope(async (s) => {
      const size = 3 * 64 * 64;
      const whole = upload(s, new Float32Array(size + 64 * 64).fill(NaN), [4 * 64, 64], 'canaries');
      gpu.clear(new Tensor(whole.block, [size]));
      const sum = { f, n: 2, data: whole };
      addOuterProducts(s, sum, tensor(s, noise(6 * f, 1), [6, f]), 0, 6, rung);
      assert.ok((await read(gpu, whole)).subarray(size).every(Number.isNaN));
    });
  });
}

test('a running sum folds at its bound, and C is the mean', async () => {
  const f = 36;
  const parts = [4000, 200, 1, 4095, 300].map((tokens, i) => noise(tokens * f, i, 0.5));
  const want = new Float64Array(f * f);
  let count = 0;
  await gpu.scope(async (s) => {
    const sum = new SecondMoment(s, f);
    for (const part of parts) {
      await gpu.scope((inner) => sum.add(inner, tensor(inner, part, [part.length / f, f])));
      secondMoment(part, f).forEach((x, i) => void (want[i]! += x));
      count += part.length / f;
    }
    assert.is(sum.count, count);
    const c = await readSymmetric(gpu, sum.covariance(s));
    allclose(
      'C',
      c,
      want.map((x) => x / count),
      { reduce: 4, scale: 1 },
    );

    // Saved and gone on with, in another process or shard: the same numbers.
    const [high, low] = [await read(gpu, sum.high.data), await read(gpu, sum.low.data)];
    const resumed = new SecondMoment(s, f);
    const panels = (data: Float32Array<ArrayBuffer>) => ({ f, n: 1, data: tensor(s, data, [64, 64]) });
    resumed.addSum(s, panels(high), panels(low), sum.count);
    assert.equal(await readSymmetric(gpu, resumed.covariance(s)), c);
  });
});

test('no tokens, no covariance', async () => {
  await gpu.scope((s) => {
    assert.throws(() => new SecondMoment(s, 4).covariance(s), /no tokens/);
    assert.throws(
      () => addOuterProducts(s, zeroPanels(s, 4, 'sum'), tensor(s, noise(6, 1), [2, 3])),
      /order 4/,
    );
  });
});

test.run();
