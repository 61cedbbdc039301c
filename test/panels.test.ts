/** Lower panels, and matrices of them that one binding does not hold. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CHOLESKY, factorise } from '../src/edit/cholesky.ts';
import {
  packSymmetric,
  pieceRanges,
  readPanels,
  unpackSymmetric,
  uploadPanels,
  zeroPanels,
} from '../src/edit/panels.ts';
import { symmetricProducts, triangularSolves } from '../src/edit/product.ts';
import { SECOND_MOMENT, SecondMoment, addOuterProducts } from '../src/edit/second-moment.ts';
import { solve } from '../src/edit/solve.ts';
import { spectrum } from '../src/edit/spectrum.ts';
import { invertFactor, solveLower, solveUpper } from '../src/edit/triangular.ts';
import { GpuError } from '../src/errors.ts';
import { read } from '../src/tensor/tensor.ts';
import { bindingAtMost, gpu, noise, tensor, withoutLeaks } from './gpu.ts';
import { allclose, relativeError } from './reference/allclose.ts';
import { norm } from './reference/edit.ts';
import { cholesky, product, solveFactored, withSpectrum } from './reference/linear-algebra.ts';
import { readSymmetric, uploadSymmetric } from './symmetric.ts';

const test = withoutLeaks(suite('panels'));

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

/** Order of the matrices here: panels of 6, 5, 4, 3, 2 and 1 blocks, 16 KiB each. */
const F = 330;
const CONDITION = 100;
/** Blocks that a binding holds, and the first panel of each piece then. */
const LIMITS: readonly (readonly [blocks: number, firsts: readonly number[]])[] = [
  [6, [0, 1, 2, 3]],
  [11, [0, 2]],
];

/** A symmetric f32 matrix with eigenvalues from 1 down to 1 / CONDITION. */
function matrix(): Float32Array<ArrayBuffer> {
  const values = noise(8 * F, 1);
  let at = 0;
  const eigenvalues = Float64Array.from({ length: F }, (_, i) => CONDITION ** (-i / (F - 1)));
  const a = Float32Array.from(withSpectrum(eigenvalues, () => values[at++]!));
  for (let i = 0; i < F; i += 1) for (let j = 0; j < i; j += 1) a[j * F + i] = a[i * F + j]!;
  return a;
}
const A = matrix();
const L = cholesky(A, F).l;

test('as many panels share a piece as a binding holds', async () => {
  const of = (bytes: number, f: number) => {
    const limited = { maxBindingBytes: bytes, adapter: { description: 'small' } };
    return pieceRanges({ gpu: limited } as Parameters<typeof pieceRanges>[0], f);
  };
  assert.equal(of(2 ** 27, 6400), [{ first: 0, end: 100 }]);
  assert.equal(of(2 ** 27, 16_384).length, 5); // GPT-J
  for (const [blocks, firsts] of LIMITS) {
    const ranges = of(blocks * 2 ** 14, F);
    assert.equal(
      ranges.map(({ first }) => first),
      firsts,
    );
    assert.equal(
      ranges.map(({ end }) => end),
      [...firsts.slice(1), 6],
    );
  }
  assert.throws(
    () => of(2 ** 14, 65),
    (e: unknown) =>
      e instanceof GpuError && /keys of 65 numbers.*small binds at most 16384.*identity/.test(e.message),
  );
});

/** Several keys at a time, as few as the smallest binding holds. */
async function momentOf(rows: readonly Float32Array<ArrayBuffer>[]) {
  return gpu.scope(async (s) => {
    const moment = new SecondMoment(s, F);
    for (const keys of rows) moment.add(s, tensor(s, keys, [keys.length / F, F]));
    const covariance = await readPanels(gpu, moment.covariance(s));
    const [high, low] = [await readPanels(gpu, moment.high), await readPanels(gpu, moment.low)];
    const resumed = new SecondMoment(s, F);
    resumed.addSum(s, uploadPanels(s, high, F), uploadPanels(s, low, F), moment.count);
    assert.equal(await readPanels(gpu, resumed.covariance(s)), covariance, 'gone on with');
    return { covariance, high, low };
  });
}

for (const [blocks, firsts] of LIMITS) {
  const inPieces = <T>(fn: () => Promise<T>): Promise<T> => bindingAtMost(blocks * 2 ** 14, fn);
  const title = `${firsts.length} pieces`;

  test(`${title}: sums of outer products and C have the bits of one piece`, async () => {
    const rows = [50, 64, 1].map((tokens, i) => noise(tokens * F, i, 0.3));
    assert.equal(await inPieces(() => momentOf(rows)), await momentOf(rows));
    for (const rung of SECOND_MOMENT.filter((one) =>
      one.fits({ f: F, n: 6, first: 0, end: 6 }, gpu.adapter),
    )) {
      const sum = (): Promise<Float32Array> =>
        gpu.scope(async (s) => {
          const into = zeroPanels(s, F, 'sum');
          addOuterProducts(s, into, tensor(s, rows[0]!, [50, F]), 3, 47, rung);
          return readPanels(gpu, into);
        });
      assert.equal(await inPieces(sum), await sum(), rung.kernel);
    }
  });

  test(`${title}: the factor, its solves and products as in float64`, async () => {
    await inPieces(() =>
      gpu.scope(async (s) => {
        const c = uploadSymmetric(s, A, F);
        assert.is(c.pieces.length, firsts.length);
        assert.equal(await readSymmetric(gpu, c), A);
        for (const rung of CHOLESKY.filter((one) =>
          one.fits({ n: 6, q: 1, first: 0, end: 1 }, gpu.adapter),
        )) {
          const { l } = await factorise(s, c, { rung });
          const got = unpackSymmetric(await readPanels(gpu, l), F).filter(
            (_, e) => e % F <= Math.floor(e / F),
          );
          const want = L.filter((_, e) => e % F <= Math.floor(e / F));
          allclose(rung.kernel, got, want, { reduce: F, scale: Math.sqrt(CONDITION) });
        }
        const factor = await factorise(s, c);
        assert.ok(factor.smallestPivot > 0.9 / CONDITION && factor.smallestPivot <= 1.0001);
        assert.ok(
          Math.abs(factor.meanDiagonal * F - A.reduce((sum, x, e) => sum + (e % (F + 1) ? 0 : x), 0)) < 1e-3,
        );

        const many = new Float32Array(3 * 384);
        for (let r = 0; r < 3; r += 1) many.set(noise(F, r), 384 * r);
        const solved = await read(gpu, triangularSolves(s, factor, tensor(s, many, [3, 384])));
        for (let r = 0; r < 3; r += 1) {
          const want = solveFactored(L, F, many.subarray(384 * r, 384 * r + F));
          const got = solved.subarray(384 * r, 384 * r + F);
          allclose(`solve ${r}`, got, want, { reduce: F, scale: CONDITION * norm(want) });
        }

        const xs = Array.from({ length: 5 }, (_, v) =>
          Float64Array.from(noise(F, v), (x) => x * (1 + 2 ** -30)),
        );
        for (const [v, y] of (await symmetricProducts(s, c, xs)).entries()) {
          const [want, terms] = [product(A, F, xs[v]!), product(A.map(Math.abs), F, xs[v]!.map(Math.abs))];
          y.forEach((x, i) =>
            assert.ok(Math.abs(x - want[i]!) <= terms[i]! * 2 ** -44, `product ${v}, row ${i}`),
          );
        }

        const k = noise(F, 9);
        const [found] = await solve(s, { c, factor }, tensor(s, k, [F]));
        const rest = product(A, F, found!.x).map((x, i) => x - k[i]!);
        assert.ok(
          found!.correction <= 1e-6 && norm(rest) <= 1e-6 * norm(k),
          `residual ${norm(rest) / norm(k)}`,
        );
        assert.ok(relativeError(found!.x, solveFactored(L, F, k)) <= 2e-6);
        const { effectiveRank, trace } = await spectrum(s, c, factor);
        const [sum, squares] = [1, 2].map((power) => eigenvalueSum(power)) as [number, number];
        assert.ok(
          Math.abs(trace / sum - 1) < 1e-5 && Math.abs(effectiveRank / (sum ** 2 / squares) - 1) < 1e-4,
        );
      }),
    );
  });

  test(`${title}: L⁻¹ in rows, of a factor in pieces`, async () => {
    await gpu.scope(async (s) => {
      const factor = await inPieces(() => factorise(s, uploadSymmetric(s, A, F)));
      const inverse = invertFactor(s, factor);
      const b = noise(2 * F, 7);
      const z = await read(gpu, solveUpper(s, inverse, solveLower(s, inverse, tensor(s, b, [2, F]))));
      for (let row = 0; row < 2; row += 1) {
        const want = solveFactored(L, F, b.subarray(row * F, row * F + F));
        const error = relativeError(z.subarray(row * F, row * F + F), want);
        assert.ok(error <= 4 * 2 ** -23 * Math.sqrt(F) * CONDITION, `row ${row}: ${error}`);
      }
    });
  });
}

const eigenvalueSum = (power: number): number =>
  Array.from({ length: F }, (_, i) => CONDITION ** ((-power * i) / (F - 1))).reduce((sum, x) => sum + x, 0);

test.run();
