import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { factorise } from '../src/edit/cholesky.ts';
import { conjugateGradients, improve, refine } from '../src/edit/refine.ts';
import type { System } from '../src/edit/refine.ts';
import { unpackSymmetric } from '../src/edit/panels.ts';
import { triangularSolves } from '../src/edit/product.ts';
import { checkRank } from '../src/edit/covariance-solver.ts';
import { normalise, solve } from '../src/edit/solve.ts';
import type { Solution } from '../src/edit/solve.ts';
import { spectrum } from '../src/edit/spectrum.ts';
import { EditRefused } from '../src/errors.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu, noise, tensor, wide, withoutLeaks } from './gpu.ts';
import { goldenTensors } from './model.ts';
import { allclose, relativeError } from './reference/allclose.ts';
import { norm } from './reference/edit.ts';
import { cholesky, product, solveFactored, withSpectrum } from './reference/linear-algebra.ts';
import { uploadSymmetric } from './symmetric.ts';

const test = withoutLeaks(suite('solve'));

/** A symmetric f32 matrix with these eigenvalues, but for its rounding. */
function matrix(eigenvalues: Float64Array): Float32Array<ArrayBuffer> {
  const n = eigenvalues.length;
  const values = noise(4 * n, n);
  let at = 0;
  const a = Float32Array.from(withSpectrum(eigenvalues, () => values[at++]!));
  for (let i = 0; i < n; i += 1) for (let j = 0; j < i; j += 1) a[j * n + i] = a[i * n + j]!;
  return a;
}

const geometric = (n: number, condition: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => condition ** (-i / Math.max(1, n - 1)));

/** |a x − k| / |k| in float64. */
function residualOf(a: ArrayLike<number>, x: Float64Array, k: ArrayLike<number>): number {
  return norm(product(a, x.length, x).map((value, i) => value - k[i]!)) / norm(k);
}

/** One key. */
async function solveKey(...args: Parameters<typeof solve>): Promise<Solution> {
  const all = await solve(...args);
  assert.is(all.length, 1);
  return all[0]!;
}

const unit = (x: Float64Array): Float64Array => x.map((value) => value / norm(x));

test('two triangular solves, at awkward sizes, the same bits twice', async () => {
  for (const f of [1, 2, 63, 64, 65, 257, 449]) {
    const a = matrix(geometric(f, 10));
    const b = noise(f, 3);
    const size = 64 * Math.ceil(f / 64);
    await gpu.scope(async (s) => {
      const factor = await factorise(s, uploadSymmetric(s, a, f));
      const padded = new Float32Array(size);
      padded.set(b);
      const right = tensor(s, padded, [size]);
      const got = await read(gpu, triangularSolves(s, factor, right));
      assert.ok(
        got.subarray(f).every((x) => x === 0),
        'the padding stays zero',
      );
      const want = solveFactored(cholesky(a, f).l, f, b);
      // Backward stable: the error of x is that of the sums times the condition, 10.
      allclose(`order ${f}`, got.subarray(0, f), want, { reduce: f, scale: 10 * norm(want) });
      assert.equal(await read(gpu, triangularSolves(s, factor, right)), got);
      for (const n of [2, 7, 65]) {
        const rows = Array.from({ length: n }, (_, r) => noise(f, r));
        const many = new Float32Array(n * size);
        rows.forEach((row, r) => many.set(row, r * size));
        const all = await read(gpu, triangularSolves(s, factor, tensor(s, many, [n, size])));
        for (const [r, row] of rows.entries()) {
          const wantRow = solveFactored(cholesky(a, f).l, f, row);
          const gotRow = all.subarray(r * size, r * size + f);
          allclose(`order ${f}, ${r} of ${n}`, gotRow, wantRow, { reduce: f, scale: 10 * norm(wantRow) });
        }
      }
    });
  }
});

for (const [f, condition] of [
  [65, 1e2],
  [257, 1e6],
] as const)
  test(`order ${f}, condition ${condition}: many right-hand sides, each as in float64 and as alone`, async () => {
    const a = matrix(geometric(f, condition));
    for (const n of [1, 2, 7, 65]) {
      const keys = noise(n * f, 5 + n);
      await gpu.scope(async (s) => {
        const c = uploadSymmetric(s, a, f);
        const factor = await factorise(s, c);
        const found = await solve(s, { c, factor }, tensor(s, keys, [n, f]));
        assert.is(found.length, n);
        for (const [row, { x, u, correction }] of found.entries()) {
          const k = keys.subarray(row * f, (row + 1) * f);
          const own = residualOf(a, x, k);
          assert.ok(correction <= 1e-6 && own <= 1e-6, `${row} of ${n}: residual ${own}`);
          const exact = unit(solveFactored(cholesky(a, f).l, f, k));
          assert.ok(relativeError(await read(gpu, u), exact) <= 2e-6, `${row} of ${n}`);
        }
        const alone = await solveKey(s, { c, factor }, tensor(s, keys.slice(-f), [f]));
        assert.equal(alone.x, found.at(-1)!.x, 'its neighbours change nothing');
      });
    }
  });

test('one bad key among good ones is refused, and nothing goes on behind its back', async () => {
  const f = 65;
  const keys = noise(3 * f, 1).fill(0, f, 2 * f);
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, matrix(geometric(f, 10)), f);
    const factor = await factorise(s, c);
    const error = await solve(s, { c, factor }, tensor(s, keys, [3, f])).catch((e: unknown) => e);
    assert.instance(error, EditRefused);
    assert.match((error as Error).message, /norm 0/);
  });
});

test('the definition: x within 4 ε √F κ of float64', async () => {
  for (const [f, condition] of [
    [1, 1],
    [2, 10],
    [63, 10],
    [65, 1e3],
    [130, 1e4],
  ] as const) {
    const a = matrix(geometric(f, condition));
    const k = noise(f, 3);
    const want = solveFactored(cholesky(a, f).l, f, k);
    for (const WG of [32, 64, 256])
      await gpu.scope(async (s) => {
        const { t: x, canaries } = wide(s, [f]);
        const bind = { c: tensor(s, a, [f, f]), key: tensor(s, k, [f]), x };
        gpu.run('edit/solve_1', bind, { f }, { groups: 1, overrides: { WG } });
        const error = relativeError((await read(gpu, x)).subarray(0, f), want);
        const bound = 4 * 2 ** -23 * Math.sqrt(f) * condition;
        assert.ok(error <= bound, `order ${f}, condition ${condition}: ${error}, at most ${bound}`);
        await canaries();
      });
  }
});

for (const [f, condition] of [
  [1, 1],
  [65, 1e2],
  [257, 1e6],
  [1024, 1e2],
  [1024, 1e4],
  [1024, 1e6],
  [1024, 1e7],
  [1024, 1e8],
] as const) {
  test(`order ${f}, condition ${condition}: residual within 1e-6, u as in float64`, async () => {
    const a = matrix(geometric(f, condition));
    const k = noise(f, 9);
    await gpu.scope(async (s) => {
      const c = uploadSymmetric(s, a, f);
      const factor = await factorise(s, c);
      const found = await solveKey(s, { c, factor }, tensor(s, k, [f]));
      const own = residualOf(a, found.x, k);
      assert.ok(found.residual <= 1e-6 && found.correction <= 1e-6 && own <= 1e-6, `residual ${own}`);
      // What it says of itself is so: to a tenth, or to what two floats can tell.
      assert.ok(
        Math.abs(found.residual - own) <= 0.1 * own + condition * 2 ** -44,
        `claims ${found.residual}, is ${own}`,
      );
      assert.is(found.ridge, 0, 'C itself is solved, whatever ridge the factor has');
      const exact = unit(solveFactored(cholesky(a, f).l, f, k));
      // The last correction (at most 1e-6 of x) is the error of x before it; twice that with what it does not see.
      assert.ok(relativeError(await read(gpu, found.u), exact) <= 2e-6);
    });
  });
}

test('a ridged factor still solves C itself, by conjugate gradients', async () => {
  const f = 300;
  const a = matrix(geometric(f, 1e6));
  const k = noise(f, 2);
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, a, f);
    const factor = await factorise(s, c, { ridge: 1e-4 });
    const found = await solveKey(s, { c, factor }, tensor(s, k, [f]));
    assert.ok(
      found.cgSteps > 0 && found.residual <= 1e-6,
      `${found.cgSteps} steps, residual ${found.residual}`,
    );
    assert.is(found.ridge, 0);
    assert.ok(residualOf(a, found.x, k) <= 1e-6);
  });
});

test('a singular C: the ridge is in the answer, or the answer is a refusal', async () => {
  const f = 200;
  const a = matrix(Float64Array.from({ length: f }, (_, i) => (i < 120 ? 1 : 0)));
  const k = noise(f, 4);
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, a, f);
    const factor = await factorise(s, c);
    assert.ok(factor.ridge > 0);
    const found: Solution = await solveKey(s, { c, factor }, tensor(s, k, [f]));
    assert.is(found.ridge, factor.ridge);
    assert.ok(found.residual <= 1e-6, 'solved with a ridge');
    assert.ok(residualOf(a, found.x, k) > 1e-3, 'and far from solved without');
    const ridged = Float64Array.from(a, (x, e) => x + (e % (f + 1) === 0 ? found.ridge : 0));
    // The condition is about 2²³ here, and two floats tell 2⁻⁴⁴ of that.
    assert.ok(residualOf(ridged, found.x, k) <= 1.1e-6 + 2 ** (23 - 44));
    assert.is((await spectrum(s, c, factor)).condition, Infinity);
  });
});

test('keys without a direction and factors of another matrix are refused', async () => {
  const f = 70;
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, matrix(geometric(f, 10)), f);
    const factor = await factorise(s, c);
    const refused = (key: Float32Array<ArrayBuffer>, of: typeof c, text: RegExp): Promise<Error> =>
      throws(() => solveKey(s, { c: of, factor }, tensor(s, key, [key.length])), EditRefused, text);
    await refused(new Float32Array(f), c, /norm 0/);
    await refused(noise(f, 1).fill(NaN, 3, 4), c, /norm NaN/);
    const other = uploadSymmetric(
      s,
      matrix(
        geometric(f, 1e5)
          .reverse()
          .map((x) => -x),
      ),
      f,
    );
    await refused(noise(f, 1), other, /stays at .*more tokens/);
  });
});

test('the fixtures: u of every edit within 1e-5 of float64', async () => {
  const C = (await goldenTensors('fixtures/covariance.safetensors')).get('C')!;
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, C, 1024);
    const factor = await factorise(s, c);
    assert.is(factor.ridge, 0);
    for (const name of ['00', '05', '11']) {
      const edit = await goldenTensors(`fixtures/edits/${name}.safetensors`);
      for (const [key, u] of [
        ['k_mean', 'u'],
        ['k_prompt', 'u.p-rome'],
      ] as const) {
        const found = await solveKey(s, { c, factor }, tensor(s, Float32Array.from(edit.get(key)!), [1024]));
        const error = relativeError(await read(gpu, found.u), edit.get(u)!);
        assert.ok(error <= 1e-5, `${name} ${u}: ${error}`);
        // k in place of C⁻¹k, the mutant that decides the science, is far off.
        const kept = unit(Float64Array.from(edit.get(key)!));
        assert.ok(relativeError(kept, edit.get(u)!) > 0.1);
      }
    }
  });
});

test('normalise: unit length, whatever the size of x', async () => {
  for (const f of [1, 255, 257, 6400])
    for (const scale of [1e-30, 1, 1e30]) {
      const x = noise(f, f).map((value) => value * scale);
      await gpu.scope(async (s) => {
        const u = await read(gpu, normalise(s, tensor(s, x, [f])));
        allclose(`${f} at ${scale}`, u, unit(Float64Array.from(x)), { reduce: 8 });
      });
    }
});

test('spectrum: extremes, trace and effective rank without eigenvalues', async () => {
  for (const f of [1, 65, 257]) {
    const eigenvalues = geometric(f, 1e4);
    const a = matrix(eigenvalues);
    await gpu.scope(async (s) => {
      const c = uploadSymmetric(s, a, f);
      const found = await spectrum(s, c, await factorise(s, c));
      const sum = (power: number): number => eigenvalues.reduce((total, x) => total + x ** power, 0);
      assert.ok(found.largest <= 1.0001 && found.largest > 0.9, `largest ${found.largest}`);
      const least = eigenvalues.at(-1)!;
      assert.ok(found.smallest >= 0.99 * least && found.smallest < 1.2 * least, `smallest ${found.smallest}`);
      assert.ok(Math.abs(found.trace / sum(1) - 1) < 1e-5);
      assert.ok(Math.abs(found.effectiveRank / (sum(1) ** 2 / sum(2)) - 1) < 1e-4);
    });
  }
});

test('refinement returns the best x it saw; both methods stop where there is no way on', async () => {
  const k = Float64Array.of(1, 1);
  const system = (product: System['product'], precondition: System['precondition']): System => ({
    k,
    product,
    precondition,
  });
  const same = async (x: Float64Array): Promise<Float64Array> => x;
  // M is off by more than a factor of two in one direction: refinement diverges, gradients do not.
  const a = system(async (x) => Float64Array.of(5 * x[0]!, x[1]!), same);
  const refined = await refine(a, 1e-6);
  assert.is(refined.steps, 0, 'later ones were worse');
  const solved = await conjugateGradients(a, refined, 1e-6, 10);
  assert.ok(solved.residual <= 1e-6 && solved.steps <= 3);
  // A is indefinite: gradients stop and do not claim anything.
  const indefinite = system(async (x) => Float64Array.of(x[0]!, -x[1]!), same);
  const stopped = await conjugateGradients(indefinite, await refine(indefinite, 1e-6), 1e-6, 10);
  assert.ok(stopped.residual > 1e-6 && stopped.steps < 10);
});

test('a small residual is not enough: the error of x has to be small too', async () => {
  // A = diag(1, 1e-8): what x lacks in the second direction hardly shows in k − A x.
  const system = (off: number): System => ({
    k: Float64Array.of(1e3, 1e-5),
    product: async (x) => Float64Array.of(x[0]!, 1e-8 * x[1]!),
    precondition: async (b) => Float64Array.of(b[0]!, b[1]! / (1e-8 * off)),
  });
  const isRight = (x: Float64Array): boolean => Math.abs(x[1]! / 1e3 - 1) <= 2e-6;
  assert.ok(isRight((await refine(system(1.3), 1e-6)).x));
  const found = await improve(system(4), 1e-6);
  assert.ok(isRight(found.x) && found.cgSteps > 0, 'refinement was too slow, gradients went on');
  const start = { x: Float64Array.of(1e3, 0), residual: NaN, correction: NaN, steps: 0 };
  const { residual, correction } = await conjugateGradients(system(4), start, 1e-6, 0);
  assert.ok(Math.abs(residual / 1e-8 - 1) < 1e-9 && Math.abs(correction / 0.25 - 1) < 1e-9);
});

test('a covariance of too few tokens or with a silent neuron is refused', () => {
  const diagonal = unpackSymmetric(new Float32Array(4096), 4).subarray(0, 4).fill(1);
  checkRank('x', diagonal, 8);
  assert.throws(() => checkRank('x', diagonal, 7), /C was built from 7 tokens, at least 2F = 8 needed/);
  assert.throws(() => checkRank('x', diagonal, NaN), /NaN tokens/);
  assert.throws(() => checkRank('x', [1, 1, 0, 1], 99), /neuron 2 is 0 over 99 tokens.*more varied/);
  assert.throws(() => checkRank('x', [1, NaN, 0, 1], 99), /neuron 1 is NaN.*damaged/);
});

test.run();
