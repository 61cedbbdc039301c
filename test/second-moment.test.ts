import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packSymmetric, readPanels, unpackSymmetric, uploadPanels, zeroPanels } from '../src/edit/panels.ts';
import { factorise } from '../src/edit/cholesky.ts';
import { solve } from '../src/edit/solve.ts';
import { SECOND_MOMENT, SecondMoment, addOuterProducts } from '../src/edit/second-moment.ts';
import { Tensor, read, upload } from '../src/tensor/tensor.ts';
import { gpu, noise, tensor, withoutLeaks } from './gpu.ts';
import { allclose, relativeError } from './reference/allclose.ts';
import { cholesky, product, secondMoment, solveFactored } from './reference/linear-algebra.ts';
import { readSymmetric } from './symmetric.ts';

const test = withoutLeaks(suite('second moment'));

for (const rung of SECOND_MOMENT) {
  const fits = (f: number): boolean => rung.fits({ f, n: Math.ceil(f / 64), first: 0, end: 1 }, gpu.adapter);

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
          const packed = await readPanels(gpu, sum);
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
      const sum = { f, n: 2, pieces: [{ first: 0, end: 2, data: whole }] };
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
    const [high, low] = [await readPanels(gpu, sum.high), await readPanels(gpu, sum.low)];
    const resumed = new SecondMoment(s, f);
    resumed.addSum(s, uploadPanels(s, high, f), uploadPanels(s, low, f), sum.count);
    assert.equal(await readSymmetric(gpu, resumed.covariance(s)), c);
  });
});

for (const [title, large] of [
  ['three coordinates', (i: number) => (i % 30 === 7 ? 1 : 0)],
  ['all coordinates', () => 1],
] as const)
  test(`a BOS key 400 times as long as the others, in ${title}: neither sums nor solve are spoilt`, async () => {
    const [f, documents, length] = [68, 60, 40];
    const T = documents * length;
    const keys = noise(T * f, 3);
    const bos = noise(f, 4).map((x, i) => x * large(i));
    const size = Math.hypot(...bos);
    // The first key of every document, the same each time; the others are about √F long.
    for (let d = 0; d < documents; d += 1)
      for (let i = 0; i < f; i += 1) keys[d * length * f + i]! += (400 * Math.sqrt(f) * bos[i]!) / size;
    const S = secondMoment(keys, f);
    const C = S.map((x) => x / T);
    await gpu.scope(async (s) => {
      const moment = new SecondMoment(s, f);
      moment.add(s, tensor(s, keys, [T, f]));
      const c = moment.covariance(s);
      const got = await readSymmetric(gpu, c);
      // Every element by its own terms: what BOS leaves alone is as good as without it.
      for (let i = 0; i < f; i += 1)
        for (let j = 0; j < f; j += 1) {
          let term = 0;
          for (let t = 0; t < T; t += 1) term = Math.max(term, Math.abs(keys[t * f + i]! * keys[t * f + j]!));
          const e = i * f + j;
          const bound = 4 * 2 ** -23 * Math.sqrt(T) * (term / T + Math.abs(C[e]!));
          assert.ok(Math.abs(got[e]! - C[e]!) <= bound, `C at ${i}, ${j}: ${got[e]}, expected ${C[e]}`);
        }
      const factor = await factorise(s, c);
      assert.is(factor.ridge, 0);
      const k = keys.subarray(17 * f, 18 * f);
      const [found] = await solve(s, { c, factor }, tensor(s, k.slice(), [f]));
      assert.ok(found!.residual <= 1e-6 && found!.ridge === 0, `residual ${found!.residual}`);
      // x of the C in float64 differs by what C⁻¹ makes of the rounding of C.
      const { l } = cholesky(C, f);
      const want = solveFactored(l, f, k);
      const rounding = product(
        got.map((x, e) => x - C[e]!),
        f,
        want,
      );
      const moved = relativeError(
        solveFactored(l, f, rounding).map((x, i) => x + want[i]!),
        want,
      );
      const error = relativeError(found!.x, want);
      assert.ok(error <= 1.1 * moved + 2e-6, `x is off by ${error}, by rounding ${moved}`);
      // C in float32 holds what is unit length beside what is so much longer, and no better.
      assert.ok(moved <= (2 ** -24 * 400 ** 2 * f) / length, `rounding moves x by ${moved}`);
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
