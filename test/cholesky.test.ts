import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CHOLESKY, factorise } from '../src/edit/cholesky.ts';
import { readPanels } from '../src/edit/panels.ts';
import { EditRefused } from '../src/errors.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu, noise, withoutLeaks } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { cholesky, withSpectrum } from './reference/linear-algebra.ts';
import { uploadSymmetric } from './symmetric.ts';

const test = withoutLeaks(suite('cholesky'));
const SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 257];
const RUNGS = CHOLESKY.filter((rung) => rung.fits({ n: 2, q: 1, first: 0, end: 1 }, gpu.adapter));

/** A symmetric f32 matrix with eigenvalues spread geometrically from 1 down to 1 / condition. */
function matrix(n: number, condition: number): Float32Array<ArrayBuffer> {
  const values = noise(8 * n, n);
  let at = 0;
  const spectrum = Float64Array.from({ length: n }, (_, i) => condition ** (-i / Math.max(1, n - 1)));
  const a = Float32Array.from(withSpectrum(spectrum, () => values[at++]!));
  for (let i = 0; i < n; i += 1) for (let j = 0; j < i; j += 1) a[j * n + i] = a[i * n + j]!;
  return a;
}

/** Lower triangle in rows [n, n] out of panels, zeros above. */
function lower(packed: Float32Array, f: number): Float32Array {
  const rows = new Float32Array(f * f);
  for (let p = 0, at = 0; 64 * p < f; p += 1) {
    const size = 64 * Math.ceil(f / 64) - 64 * p;
    for (let i = 0; i < size; i += 1)
      for (let j = 0; j < 64; j += 1, at += 1)
        if (64 * p + i < f && 64 * p + j <= 64 * p + i) rows[(64 * p + i) * f + 64 * p + j] = packed[at]!;
        else assert.is(packed[at], i === j ? 1 : 0, `panel ${p}: (${i}, ${j}) is beyond the triangle`);
  }
  return rows;
}

for (const rung of RUNGS) {
  test(`${rung.kernel}: L as in float64, twice the same bits`, async () => {
    for (const f of SIZES) {
      const a = matrix(f, 10);
      const run = (): Promise<Float32Array> =>
        gpu.scope(async (s) => {
          const factor = await factorise(s, uploadSymmetric(s, a, f), { rung });
          assert.is(factor.ridge, 0);
          assert.ok(factor.smallestPivot > 0.09 && factor.smallestPivot <= 1.0001);
          return lower(await readPanels(gpu, factor.l), f);
        });
      const got = await run();
      // Errors of the sums are amplified by at most the condition of L, √10 here, in the rows below.
      allclose(`order ${f}`, got, cholesky(a, f).l, { reduce: f, scale: Math.sqrt(10) });
      assert.equal(await run(), got, `order ${f}: another run, other bits`);
    }
  });

  test(`${rung.kernel}: the inverses of the diagonal blocks`, async () => {
    const f = 129;
    await gpu.scope(async (s) => {
      const factor = await factorise(s, uploadSymmetric(s, matrix(f, 10), f), { rung });
      const l = lower(await readPanels(gpu, factor.l), f);
      const inverses = await read(gpu, factor.inverses);
      for (let block = 0; block < 2; block += 1) {
        const product: number[] = [];
        for (let i = 0; i < 64; i += 1)
          for (let j = 0; j < 64; j += 1) {
            let sum = 0;
            for (let k = 0; k < 64; k += 1)
              sum += inverses[(64 * block + i) * 64 + k]! * l[(64 * block + k) * f + 64 * block + j]!;
            product.push(sum);
          }
        const one = product.map((_, e) => (e % 65 === 0 ? 1 : 0));
        allclose('X L', product, one, { reduce: 64, scale: Math.sqrt(10) });
      }
    });
  });

  test(`${rung.kernel}: a matrix that is not positive definite gets the smallest ridge that works`, async () => {
    const f = 130;
    const a = matrix(f, 100);
    const rank = 70; // the rest of the spectrum is zero
    const values = noise(8 * f, 5);
    let at = 0;
    const spectrum = Float64Array.from({ length: f }, (_, i) => (i < rank ? 1 : 0));
    a.set(withSpectrum(spectrum, () => values[at++]!));
    await gpu.scope(async (s) => {
      const c = uploadSymmetric(s, a, f);
      const factor = await factorise(s, c, { rung });
      assert.ok(factor.ridge > 0 && factor.ridge < 1e-4, `ridge ${factor.ridge}`);
      assert.is(factor.failed[0]?.ridge, 0);
      assert.ok(factor.failed.every(({ row }) => row < f));
      const step =
        factor.failed.length === 1 ? 2 ** -23 * factor.meanDiagonal : 10 * factor.failed.at(-1)!.ridge;
      assert.ok(Math.abs(factor.ridge / step - 1) < 1e-6, 'tried in order');
      const ridged = Float64Array.from(a, (x, e) => x + (e % (f + 1) === 0 ? factor.ridge : 0));
      assert.is(cholesky(ridged, f).failed, -1);
      assert.is(
        (await factorise(s, c, { ridge: 0.5, rung })).ridge,
        0.5,
        'a wanted ridge is where it starts',
      );
    });
  });
}

test('what cannot be factorised is refused with a reason', async () => {
  await gpu.scope(async (s) => {
    for (const bad of [new Float32Array(9), matrix(3, 2).fill(NaN, 4, 5), matrix(3, 2).map((x) => -x)])
      await throws(() => factorise(s, uploadSymmetric(s, bad, 3)), EditRefused, 'no Cholesky factor');
  });
});

test.run();
