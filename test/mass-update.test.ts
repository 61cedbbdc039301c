import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { factorise } from '../src/edit/cholesky.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import type { Covariance } from '../src/edit/covariance-solver.ts';
import { symmetricEigen } from '../src/edit/eigen.ts';
import { massUpdate } from '../src/edit/mass-update.ts';
import type { MassUpdate } from '../src/edit/mass-update.ts';
import { MASS_DEFAULTS } from '../src/edit/method.ts';
import type { MassMethod, MassOptions } from '../src/edit/method.ts';
import { openMetric } from '../src/edit/metric.ts';
import { packSymmetric, panelWindow } from '../src/edit/panels.ts';
import { invertFactor, solveLower, solveUpper } from '../src/edit/triangular.ts';
import { lowRankUpdate } from '../src/edit/update.ts';
import { EditRefused } from '../src/errors.ts';
import { cachedEigen } from '../src/io/eigen-cache.ts';
import { matmul } from '../src/tensor/matmul.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws, withFolder } from './folder.ts';
import { gpu, noise, tensor, wide, withoutLeaks } from './gpu.ts';
import { golden, goldenTensors } from './model.ts';
import { allclose, relativeError } from './reference/allclose.ts';
import { norm } from './reference/edit.ts';
import { cholesky, secondMoment, solveFactored, withSpectrum } from './reference/linear-algebra.ts';
import { matmulReference } from './reference/matmul.ts';
import { uploadSymmetric } from './symmetric.ts';

const test = withoutLeaks(suite('mass update'));

type Matrix = { readonly values: Float32Array<ArrayBuffer>; readonly cols: number };

/** Symmetric to the last bit, eigenvalues from 1 down to 1 / condition. */
function matrix(f: number, condition: number): Float32Array<ArrayBuffer> {
  const values = noise(8 * f, f);
  let at = 0;
  const spectrum = Float64Array.from({ length: f }, (_, i) => condition ** (-i / Math.max(1, f - 1)));
  const a = Float32Array.from(withSpectrum(spectrum, () => values[at++]!));
  for (let i = 0; i < f; i += 1) for (let j = 0; j < i; j += 1) a[j * f + i] = a[i * f + j]!;
  return a;
}

const covarianceOf = (c: Float32Array<ArrayBuffer>, f: number, tokens = 10 * f): Covariance => ({
  key: 'test',
  size: f,
  tokens,
  panels: packSymmetric(c, f),
});

/** (μA + QᵀQ)⁻¹ QᵀS in float64, F x F as published. */
function published(
  a: ArrayLike<number>,
  f: number,
  { q, s, d, mu }: { q: ArrayLike<number>; s: ArrayLike<number>; d: number; mu: number },
): Float64Array {
  const left = secondMoment(q, f).map((value, e) => value + mu * a[e]!);
  const { l } = cholesky(left, f);
  const u = new Float64Array(f * d);
  for (let j = 0; j < d; j += 1) {
    const b = new Float64Array(f);
    for (let t = 0; t * f < q.length; t += 1)
      for (let i = 0; i < f; i += 1) b[i]! += q[t * f + i]! * s[t * d + j]!;
    solveFactored(l, f, b).forEach((x, i) => (u[i * d + j] = x));
  }
  return u;
}

async function product({ U, Lambda, rank }: MassUpdate): Promise<Float64Array> {
  const [u, lambda] = [await read(gpu, U), await read(gpu, Lambda)];
  return matmulReference(u, lambda, [U.rows, rank, Lambda.cols]);
}

interface Case {
  readonly method: MassMethod;
  readonly options?: Partial<MassOptions>;
  readonly c: Covariance;
  readonly K: Matrix;
  readonly R: Matrix;
  readonly past?: Matrix | undefined;
}

/** U [F, D] as the engine computes it. */
async function update({
  method,
  options,
  c,
  K,
  R,
  past,
}: Case): Promise<{ U: Float64Array; found: MassUpdate }> {
  const metric = await openMetric(gpu, { method, options: { ...MASS_DEFAULTS, ...options }, covariance: c });
  try {
    return await gpu.scope(async (s) => {
      const put = ({ values, cols }: Matrix) => tensor(s, values, [values.length / cols, cols]);
      const found = await massUpdate(s, metric, { K: put(K), R: put(R), past: past && put(past) });
      return { U: await product(found), found };
    });
  } finally {
    metric.close();
  }
}

test('transpose and rows of −L: every element, sizes around a block', async () => {
  await gpu.scope(async (s) => {
    for (const [rows, cols] of [
      [1, 1],
      [3, 65],
      [130, 63],
    ] as const) {
      const x = noise(rows * cols, rows);
      const { t: y, canaries } = wide(s, [cols, rows]);
      gpu.run(
        'tensor/transpose',
        { x: tensor(s, x, [rows, cols]), y },
        { rows, cols, factor: -2 },
        { threads: x.length },
      );
      const want = Float32Array.from(
        { length: x.length },
        (_, e) => -2 * x[(e % rows) * cols + Math.floor(e / rows)]!,
      );
      assert.equal((await read(gpu, y)).subarray(0, x.length), want);
      await canaries();
    }
    const f = 130;
    const a = matrix(f, 10);
    const panels = uploadSymmetric(s, a, f);
    const { n } = panels;
    for (const [row, rows, cols] of [
      [0, 64, 64],
      [64, 128, 130],
    ] as const) {
      const { t: y, canaries } = wide(s, [rows, cols]);
      // In two pieces, the second first: each writes its own columns and no others.
      for (const [first, end] of [
        [1, n],
        [0, 1],
      ] as const) {
        const width = Math.min(cols, 64 * end) - 64 * first;
        const params = { n, first, end, row, rows, cols };
        const l = panelWindow(panels, first, end);
        gpu.run('edit/lower_rows', { l, y }, params, { threads: Math.max(0, rows * width) });
      }
      const want = Float32Array.from({ length: rows * cols }, (_, e) => {
        const [i, j] = [row + Math.floor(e / cols), e % cols];
        return Math.floor(j / 64) < Math.floor(i / 64) && i < f ? -a[i * f + j]! : 0;
      });
      allclose(`rows from ${row}`, (await read(gpu, y)).subarray(0, rows * cols), want);
      await canaries();
    }
  });
});

test('a product with windows writes its columns and no others', async () => {
  await gpu.scope(async (s) => {
    const [m, k, n] = [5, 12, 8];
    const [a, b, c] = [noise(m * 20, 1), noise(k * n, 2), noise(m * 30, 3)];
    for (const [transposeB, from, to, accumulate] of [
      [false, 8, 12, true],
      [true, 3, 5, false],
      [false, 0, 22, false],
    ] as const) {
      const out = tensor(s, c, [m, 30]);
      const right = tensor(s, b, transposeB ? [n, k] : [k, n]);
      matmul(s, tensor(s, a, [m, 20]), right, {
        ...{ out, accumulate, transposeB, window: { a: from, out: to } },
      });
      const want = Float64Array.from(c, (value, e) => {
        const [i, j] = [Math.floor(e / 30), (e % 30) - to];
        if (j < 0 || j >= n) return value;
        let sum = accumulate ? value : 0;
        for (let x = 0; x < k; x += 1) sum += a[i * 20 + from + x]! * b[transposeB ? j * k + x : x * n + j]!;
        return sum;
      });
      allclose('windows', await read(gpu, out), want, { reduce: k, scale: 10 });
    }
    const [left, right] = [tensor(s, a, [m, 20]), tensor(s, b, [k, n])];
    for (const window of [{ a: 9 }, { out: 23 }])
      assert.throws(() => matmul(s, left, right, { out: tensor(s, c, [m, 30]), window }), /larger than/);
  });
});

test('solves by L⁻¹ in row panels as in float64, sizes around a block and a panel', async () => {
  for (const f of [1, 63, 65, 256, 257, 330]) {
    const a = matrix(f, 100);
    const { l } = cholesky(a, f);
    const rows = 3;
    const b = noise(rows * f, 7);
    await gpu.scope(async (s) => {
      const inverse = invertFactor(s, await factorise(s, uploadSymmetric(s, a, f)));
      const y = solveLower(s, inverse, tensor(s, b, [rows, f]));
      const z = await read(gpu, solveUpper(s, inverse, y));
      for (let row = 0; row < rows; row += 1) {
        const want = solveFactored(l, f, b.subarray(row * f, row * f + f));
        // ε √F times the condition of L, twice over, of what the largest part of b becomes
        const error = relativeError(z.subarray(row * f, row * f + f), want);
        assert.ok(error <= 4 * 2 ** -23 * Math.sqrt(f) * 100, `order ${f}: ${error}`);
      }
    });
  }
});

test('eigenvalues and eigenvectors: a known spectrum, clusters and zeros among it', () => {
  const spectra = [[3], [1, 1, 1], [0, 0, 1, 2, 2, 5], Array.from({ length: 90 }, (_, i) => 1.2 ** -i)];
  for (const spectrum of spectra) {
    const f = spectrum.length;
    const values = noise(8 * f, f);
    let at = 0;
    const a = withSpectrum(spectrum, () => values[at++]!);
    const found = symmetricEigen(a, f);
    const sorted = [...spectrum].sort((x, y) => x - y);
    found.values.forEach((value, i) => assert.ok(Math.abs(value - sorted[i]!) <= 1e-13 * f * sorted.at(-1)!));
    for (let v = 0; v < f; v += 1)
      for (let w = 0; w <= v; w += 1) {
        let dot = 0;
        for (let i = 0; i < f; i += 1) dot += found.vectors[v * f + i]! * found.vectors[w * f + i]!;
        assert.ok(Math.abs(dot - Number(v === w)) <= 1e-6, `${v} · ${w} is ${dot}`);
      }
    for (let v = 0; v < f; v += 1)
      for (let i = 0; i < f; i += 1) {
        let sum = -found.values[v]! * found.vectors[v * f + i]!;
        for (let j = 0; j < f; j += 1) sum += a[i * f + j]! * found.vectors[v * f + j]!;
        assert.ok(Math.abs(sum) <= 2 ** -23 * Math.sqrt(f) * sorted.at(-1)!, `C v − λ v is ${sum}`);
      }
  }
  assert.throws(() => symmetricEigen(new Float64Array(9).fill(NaN), 3), /QL does not end/);
});

test('eigenvectors are kept on the disk, by the hash of C', () =>
  withFolder(async (cache) => {
    const few = covarianceOf(matrix(70, 100), 70);
    const first = await cachedEigen(few, cache);
    const [file] = readdirSync(join(cache, 'eigenvectors'));
    const again = await cachedEigen(few, cache);
    assert.equal(again.vectors, first.vectors);
    again.values.forEach((value, i) => assert.ok(Math.abs(value / first.values[i]! - 1) < 1e-14));
    writeFileSync(join(cache, 'eigenvectors', file!), 'broken');
    assert.equal((await cachedEigen(few, cache)).vectors, first.vectors);
    assert.is((await cachedEigen(covarianceOf(matrix(66, 10), 66), cache)).values.length, 66);
    assert.is(readdirSync(join(cache, 'eigenvectors')).length, 2);
  }));

for (const name of ['gpt2', 'llama3'])
  test(`${name}: U of every method, batch and layer as published, in float64`, async () => {
    const tensors = await goldenTensors(`mass/${name}.safetensors`);
    const said = JSON.parse(readFileSync(golden(`mass/${name}.json`), 'utf8'));
    for (const [method, { hyper_parameters: hp }] of Object.entries<{
      hyper_parameters: Record<string, number> & { layers: number[] };
    }>(said.methods))
      for (const layer of hp.layers)
        for (const batch of [0, 1]) {
          if (method === 'alphaedit' && batch === 1) continue; // its past keys are those after the writing
          const at = (what: string, of = batch): Float32Array<ArrayBuffer> =>
            tensors.get(`${method}.${of}.${layer}.${what}`) as Float32Array<ArrayBuffer>;
          const c = tensors.get(`C.${layer}`) as Float32Array<ArrayBuffer>;
          const cols = Math.sqrt(c.length);
          const { U, found } = await update({
            method: method as MassMethod,
            options: {
              covarianceWeight: hp['lambda'] ?? hp['weight'] ?? NaN,
              epsilon: hp['epsilon'] ?? NaN,
              normWeight: hp['lambda_n'] ?? NaN,
              nullSpaceThreshold: hp['threshold'] ?? NaN,
              ridge: hp['L2'] ?? NaN,
            },
            c: covarianceOf(c, cols, said.covariance_tokens),
            K: { values: at('K'), cols },
            R: { values: at('R'), cols: at('R').length / 5 },
            past: method === 'encore' && batch === 1 ? { values: at('K', 0), cols } : undefined,
          });
          const error = relativeError(U, at('U'));
          // U is good to 1e-6, and the fixtures hold K, R and U in float32.
          assert.ok(error <= 2e-6, `${method} ${batch} ${layer}: ${error}`);
          assert.ok(found.correction <= 1e-6);
        }
  });

const F = 96;
const C = matrix(F, 1e4);
const c = covarianceOf(C, F);
const keys = (n: number, seed = 1): Matrix => ({ values: noise(n * F, seed), cols: F });
const residuals = (n: number, d: number, seed = 2): Matrix => ({ values: noise(n * d, seed), cols: d });
const rows = (m: Matrix): Float32Array[] =>
  Array.from({ length: m.values.length / m.cols }, (_, i) => m.values.subarray(i * m.cols, (i + 1) * m.cols));
const stack = (list: readonly Float32Array[], cols: number): Matrix => ({
  values: Float32Array.from(list.flatMap((row) => [...row])),
  cols,
});

test('the definition, and more facts than D, more than F, with past keys: as published', async () => {
  for (const [n, d, m] of [
    [1, 5, 0],
    [7, 20, 3],
    [30, 20, 0],
    [130, 70, 20],
  ] as const) {
    const [K, R, P] = [keys(n), residuals(n, d), keys(m, 3)];
    const [lambda, normWeight] = [20, 0.5];
    const q = stack([...rows(P), ...rows(K)], F).values;
    const S = Float32Array.from([...new Float32Array(m * d), ...R.values]);
    const ridged = C.map((x, e) => x + (e % (F + 1) === 0 ? normWeight / lambda : 0));
    const want = published(ridged, F, { q, s: S, d, mu: lambda });
    const options = { covarianceWeight: lambda, normWeight };
    const { U, found } = await update({
      method: 'encore',
      options,
      c,
      K,
      R,
      past: m > 0 ? P : undefined,
    });
    assert.is(found.rank, Math.min(n, d));
    const left = matmulReference(K.values, want, [n, F, d]).map((x, e) => x - R.values[e]!);
    assert.ok(Math.abs(found.undone - norm(left) / norm(R.values)) <= 1e-5, 'what is left undone');
    assert.ok(
      relativeError(U, want) <= (found.rank <= 64 ? 2e-6 : 2e-5),
      `${n} facts: ${relativeError(U, want)}`,
    );
    await gpu.scope(async (s) => {
      const { t: u, canaries } = wide(s, [F, d]);
      gpu.run(
        'edit/mass_update_1',
        {
          a: tensor(s, ridged.slice(), [F, F]),
          q: tensor(s, q, [n + m, F]),
          s: tensor(s, S, [n + m, d]),
          u,
        },
        { f: F, d, n: n + m, mu: lambda },
        { groups: 1 },
      );
      // κ(μA + QᵀQ) is below 1e4 here
      const error = relativeError((await read(gpu, u)).subarray(0, F * d), want);
      assert.ok(error <= 2 ** -23 * Math.sqrt(F) * 1e3, `the definition: ${error}`);
      await canaries();
    });
  }
});

test('EMMET is MEMIT with λ = wε; EMMET of one fact is r-ROME; the order of facts makes no difference', async () => {
  const [K, R] = [keys(12), residuals(12, 30)];
  const memit = await update({ method: 'memit', options: { covarianceWeight: 5 }, c, K, R });
  const emmet = await update({ method: 'emmet', options: { covarianceWeight: 50, epsilon: 0.1 }, c, K, R });
  assert.ok(relativeError(emmet.U, memit.U) <= 1e-6);
  const turned = {
    K: stack(rows(K).reverse(), F),
    R: stack(rows(R).reverse(), 30),
  };
  const permuted = await update({ method: 'memit', options: { covarianceWeight: 5 }, c, ...turned });
  assert.ok(relativeError(permuted.U, memit.U) <= 1e-6);

  const [k, r] = [keys(1, 9), residuals(1, 30, 9)];
  const one = await update({ method: 'emmet', options: { covarianceWeight: 50 }, c, K: k, R: r });
  assert.ok(one.found.undone <= 1e-6, 'nothing is left undone');
  const limit = await update({ method: 'memit', options: { covarianceWeight: 1e-5 }, c, K: k, R: r });
  const solver = await covarianceSolver(gpu, c);
  await gpu.scope(async (s) => {
    const u = await read(gpu, (await solver.direction(s, tensor(s, k.values, [F]))).u);
    const divisor = k.values.reduce((sum, x, i) => sum + x * u[i]!, 0);
    const rank1 = Float64Array.from({ length: F * 30 }, (_, e) => {
      return (u[Math.floor(e / 30)]! * r.values[e % 30]!) / divisor;
    });
    assert.ok(relativeError(one.U, rank1) <= 1e-5, `${relativeError(one.U, rank1)}`);
    assert.ok(relativeError(limit.U, rank1) <= 1e-5, `${relativeError(limit.U, rank1)}`);
    // C = I, the mutant that decides the science, is far off.
    const plain = Float64Array.from(rank1, (_, e) => k.values[Math.floor(e / 30)]! * r.values[e % 30]!);
    assert.ok(relativeError(one.U, plain) > 0.1);
  });
  solver.close();
});

test('AlphaEdit with past keys as published, and nothing outside the null space', async () => {
  const [K, R, P] = [keys(9), residuals(9, 20), keys(6, 5)];
  const [threshold, ridge] = [0.01, 2];
  const options = { nullSpaceThreshold: threshold, ridge };
  const { U } = await update({ method: 'alphaedit', options, c, K, R, past: P });
  // In coordinates of the null space, V the eigenvectors: U = V (L₂I + VᵀQᵀQV)⁻¹ VᵀQᵀS
  const { values, vectors } = symmetricEigen(C, F);
  const r = values.filter((value) => value < threshold).length;
  assert.ok(r > 10 && r < F - 10);
  const V = vectors.subarray(0, r * F);
  const q = stack([...rows(P), ...rows(K)], F).values;
  const S = Float32Array.from([...new Float32Array(6 * 20), ...R.values]);
  const qv = new Float64Array(15 * r);
  for (let t = 0; t < 15; t += 1)
    for (let v = 0; v < r; v += 1)
      for (let i = 0; i < F; i += 1) qv[t * r + v]! += q[t * F + i]! * V[v * F + i]!;
  const eye = Float64Array.from({ length: r * r }, (_, e) => Number(e % (r + 1) === 0));
  const inner = published(eye, r, { q: qv, s: S, d: 20, mu: ridge });
  const want = new Float64Array(F * 20);
  for (let v = 0; v < r; v += 1)
    for (let i = 0; i < F; i += 1)
      for (let j = 0; j < 20; j += 1) want[i * 20 + j]! += V[v * F + i]! * inner[v * 20 + j]!;
  assert.ok(relativeError(U, want) <= 2e-6, `${relativeError(U, want)}`);
  for (let v = r; v < F; v += 1) {
    let along = 0;
    for (let i = 0; i < F; i += 1) along += vectors[v * F + i]! * U[i * 20]!;
    assert.ok(Math.abs(along) <= 1e-5, 'a direction that is not free is not touched');
  }
  for (const rounding of [-1e-15, 0, 1e-15]) {
    const tie = { nullSpaceThreshold: values[r]! * (1 + rounding), ridge };
    assert.equal((await update({ method: 'alphaedit', options: tie, c, K, R, past: P })).U, U, 'a tie');
  }
});

test('a high rank is added by products, in both layouts, to the same W', async () => {
  const [f, d, rank] = [130, 36, 40];
  const [w, u, l] = [noise(f * d, 1), noise(f * rank, 2), noise(rank * d, 3)];
  const want = matmulReference(u, l, [f, rank, d], { before: w });
  const turn = (x: ArrayLike<number>): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: f * d }, (_, e) => x[(e % f) * d + Math.floor(e / f)]!);
  await gpu.scope(async (s) => {
    const update = { U: tensor(s, u, [f, rank]), Lambda: tensor(s, l, [rank, d]), rank };
    for (const layout of ['in-out', 'out-in'] as const) {
      const plain = layout === 'in-out';
      const W = tensor(s, plain ? w : turn(w), plain ? [f, d] : [d, f]);
      lowRankUpdate(s, { tensor: W, layout }, update);
      const bound = { reduce: rank, scale: 12 };
      allclose(layout, await read(gpu, W), plain ? want : turn(want), bound);
    }
  });
});

test('a metric says in one line what A is', async () => {
  for (const [method, said] of [
    ['memit', 'A = C'],
    ['encore', 'A = C + 0.000667 I'],
    ['alphaedit', 'A⁻¹ = N, 55 of 96 directions, where C is below 0.02'], // 10⁻⁴ to the power of i / 95 for i from 41 on,
  ] as const) {
    const metric = await openMetric(gpu, { method, options: MASS_DEFAULTS, covariance: c });
    assert.is(metric.description, said);
    metric.close();
  }
});

test('duplicates count twice, contradictions end in the middle', async () => {
  const [k, r] = [keys(1, 4), residuals(2, 10, 4)];
  const [one, other] = rows(r);
  const options = { covarianceWeight: 1 };
  const twice = stack([...rows(k), ...rows(k)], F);
  const pair = await update({ method: 'memit', options, c, K: twice, R: stack([one!, one!], 10) });
  const single = await update({
    ...{ method: 'memit', options: { covarianceWeight: 0.5 }, c },
    ...{ K: k, R: stack([one!], 10) },
  } as Case);
  assert.ok(relativeError(pair.U, single.U) <= 5e-6, 'as if C weighed half as much');
  const torn = await update({ method: 'memit', options, c, K: twice, R: stack([one!, other!], 10) });
  const middle = Float32Array.from(one!, (x, i) => (x + other![i]!) / 2);
  const agreed = await update({ method: 'memit', options, c, K: twice, R: stack([middle, middle], 10) });
  assert.ok(relativeError(torn.U, agreed.U) <= 5e-6);
  assert.ok(torn.found.undone > 0.3 && pair.found.undone < 0.1);
});

test('what cannot be written is refused before the work', async () => {
  const [K, R] = [keys(3), residuals(3, 10)];
  const refused = (wrong: Partial<Case>, text: RegExp): Promise<Error> =>
    throws(() => update({ method: 'alphaedit', c, K, R, ...wrong }), EditRefused, text);
  await refused(
    { options: { nullSpaceThreshold: 1e-6 } },
    /no eigenvalue of C lies below the threshold 0.000001.*--null-space-threshold/,
  );
  await refused({ c: covarianceOf(C, F, 10) }, /built from 10 tokens/);
  await refused({ K: { ...K, values: K.values.slice().fill(NaN, 5, 6) }, method: 'memit' }, /not finite/);
});

test.run();
