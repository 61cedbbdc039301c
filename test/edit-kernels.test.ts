import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { adamStep } from '../src/edit/adam.ts';
import { addAtRows, evenly, lookupsOf, meanRows, sumRows as sumRequests } from '../src/edit/add-at-rows.ts';
import { frobenius } from '../src/edit/frobenius.ts';
import { spectralDifference } from '../src/edit/spectrum.ts';
import { lossTable, lossTrace, readTraceRows } from '../src/edit/value-loss.ts';
import type { LossTable } from '../src/edit/value-loss.ts';
import { normalise } from '../src/edit/solve.ts';
import { lowRankUpdate, readLambdaStats, solveLambda } from '../src/edit/update.ts';
import { narrow, widen } from '../src/floats.ts';
import type { Scope } from '../src/gpu/scope.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Tensor, read, readU32, zeros } from '../src/tensor/tensor.ts';
import { gpu, noise, tensor, wide, withoutLeaks } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { adam, dot, lossRow, norm, rankOne, sumRows } from './reference/edit.ts';

const test = withoutLeaks(suite('edit kernels'));
const WIDTHS = [1, 63, 64, 65, 255, 257, 1601];
const f32 = (x: Iterable<number>): Float32Array<ArrayBuffer> => Float32Array.from(x);

const wordsOf = (halves: Uint16Array): Uint32Array<ArrayBuffer> =>
  new Uint32Array(Uint16Array.from(halves).buffer);

/** Runs `fn` twice and returns its numbers, which must be the same bits both times. */
async function twice(fn: (s: Scope) => Tensor): Promise<Float32Array<ArrayBuffer>> {
  const [a, b] = [await gpu.scope((s) => read(gpu, fn(s))), await gpu.scope((s) => read(gpu, fn(s)))];
  assert.equal(new Uint32Array(a.buffer), new Uint32Array(b.buffer), 'another run, other bits');
  return a;
}

/** Rows of three requests, the second of which has left. */
const OWNED = [[6, 0, 3], [], [5, 1]];

test('add_at_rows adds its own delta to the rows of each request and to no other', async () => {
  for (const d of WIDTHS) {
    const [x, delta] = [noise(7 * d, 1, 100, 3), noise(3 * d, 2)];
    const got = await twice((s) =>
      addAtRows(s, tensor(s, x, [7, d]), tensor(s, delta, [3, d]), lookupsOf(s, OWNED)),
    );
    const want = x.slice();
    for (const [request, rows] of OWNED.entries())
      for (const r of rows) for (let i = 0; i < d; i += 1) want[r * d + i]! += delta[request * d + i]!;
    assert.equal(got, want, `width ${d}`);
  }
});

test('the gradient by each delta is the sum of dy over its rows, on the tape too', async () => {
  for (const d of WIDTHS) {
    const dy = noise(9 * d, 3, 100, 3);
    const want = OWNED.flatMap((rows) => sumRows(dy, d, rows));
    const got = await twice((s) => sumRequests(s, tensor(s, dy, [9, d]), lookupsOf(s, OWNED)));
    allclose('sum_rows', got, want, { reduce: 4, scale: 110 });
    const tape = new Tape();
    await gpu.scope(async (s) => {
      const delta = tensor(s, noise(3 * d, 4), [3, d]);
      tape.watch(delta);
      // The value handed to `backward` as the loss is its own gradient: dy.
      const y = addAtRows(s, tensor(s, noise(9 * d, 5), [9, d]), delta, lookupsOf(s, OWNED));
      gpu.write(y, dy);
      const gradient = tape.backward(s, y, delta);
      assert.equal(await read(gpu, gradient), got);
      const { t: sum, canaries } = wide(s, [3, d]);
      const { rows, starts, weights } = lookupsOf(s, OWNED);
      const bindings = { x: y, rows, starts, weights, y: sum };
      gpu.run('tensor/sum_rows', bindings, { n: 3, d }, { threads: 3 * d });
      await canaries();
    }, tape);
  }
});

test('sum_rows weighs the rows of each request', async () => {
  for (const d of WIDTHS) {
    for (const c of [1, 2, 21]) {
      const n = 3;
      const x = noise(n * c * d, c, 100, 3);
      const even = Array.from({ length: n }, (_, r) =>
        sumRows(x.subarray(r * c * d), d, Array(c).keys()).map((sum) => sum / c),
      ).flat();
      const mean = (s: Scope, weights: number[]): Tensor => meanRows(s, tensor(s, x, [n * c, d]), weights);
      // A weight is rounded to 6e-8 of itself, and so is each product with a row of about 100.
      const bound = { reduce: c, scale: 100 };
      allclose('even', await twice((s) => mean(s, evenly(c))), even, bound);
      const weights = Array.from({ length: c }, (_, j) => (2 * (j + 1)) / (c * (c + 1)));
      const uneven = Array.from({ length: n * d }, (_, i) =>
        weights.reduce((sum, w, j) => sum + w * x[(Math.floor(i / d) * c + j) * d + (i % d)]!, 0),
      );
      allclose('uneven', await twice((s) => mean(s, weights)), uneven, bound);
    }
  }
});

/** Two requests of a search of three, the last and the first. */
function twoOfThree(s: Scope, contexts: number, tokens: number): LossTable {
  const targetIds = Array.from({ length: tokens }, (_, i) => i);
  return lossTable(s, [
    { request: 2, contexts, targetIds },
    { request: 0, contexts: 1, targetIds: [7] },
  ]);
}

test('loss_trace writes the rows of its requests and no other, and stays done', async () => {
  for (const [d, contexts, perRow] of [
    [1, 1, 1],
    [257, 21, 1],
    [1601, 21, 4],
    [256, 300, 3],
  ] as const) {
    const nll = noise(contexts * perRow + 1, 1, 2, 0.5).map(Math.abs);
    const [delta, v0] = [noise(3 * d, 2, 0, 4), noise(3 * d, 3, 0.1, 2)];
    await gpu.scope(async (s) => {
      const trace = tensor(s, new Float32Array(5 * 3 * 8).fill(NaN), [5, 3, 8]);
      const terms = { trace, kl: tensor(s, f32([0.25, 0.5]), [2]), v0: tensor(s, v0, [3, d]) };
      const table = twoOfThree(s, contexts, perRow);
      const one = (step: number, values: Float32Array<ArrayBuffer>, by: Float32Array<ArrayBuffer>): void =>
        lossTrace(s, {
          ...terms,
          table,
          step,
          nll: tensor(s, values, [values.length]),
          delta: tensor(s, by, [3, d]),
          weightDecay: 0.5,
        });
      one(0, nll, new Float32Array(3 * d));
      one(1, nll, delta);
      const all = await read(gpu, trace);
      const at = (step: number, request: number): Float32Array =>
        all.subarray(8 * (3 * step + request)).subarray(0, 8);
      const own = (x: Float32Array, request: number): Float32Array =>
        x.subarray(request * d, (request + 1) * d);
      const [first, last] = [nll.subarray(0, -1), nll.subarray(-1)];
      const want = lossRow(first, 0.25, perRow, own(delta, 2), own(v0, 2), 0.5);
      const bound = { reduce: Math.max(d, nll.length), scale: 0.1 };
      allclose('request 2', at(1, 2).subarray(0, 6), want, bound);
      allclose(
        'request 0',
        at(1, 0).subarray(0, 6),
        lossRow(last, 0.5, 1, own(delta, 0), own(v0, 0), 0.5),
        bound,
      );
      assert.is(at(0, 2)[3], 0, 'no decay at delta = 0');
      assert.equal([at(0, 2)[6], at(1, 2)[6]], [0, 0], 'not done');
      assert.ok(at(1, 1).every(Number.isNaN), 'a request that has left');
      assert.ok(all.subarray(2 * 3 * 8).every(Number.isNaN), 'other rows untouched');

      terms.kl = tensor(s, f32([0, 0]), [2]);
      one(2, new Float32Array(nll.length).fill(0.04), new Float32Array(3 * d));
      one(3, nll, delta);
      assert.equal(
        (await readTraceRows(gpu, trace, 2, 3)).map(({ done }) => done),
        [true, true, true],
      );
      const rows = await readTraceRows(gpu, trace, 3, 3);
      assert.is(rows[2]?.done, true, 'an earlier row was done');
      assert.ok(Math.abs(rows[2]!.loss - want[0]! + 0.25) < 1e-5);
    });
  }
});

test('loss_trace counts the rows in which every sampled context says all of the target', async () => {
  await gpu.scope(async (s) => {
    // Three contexts of two tokens, the bare prompt first; and a request whose only context is the bare prompt.
    for (const stopAfter of [2, 1]) {
      const table = lossTable(s, [
        { request: 0, contexts: 3, targetIds: [4, 5] },
        { request: 1, contexts: 1, targetIds: [6] },
      ]);
      const trace = zeros(s, [3, 2, 8], 'trace');
      const zero = zeros(s, [2, 4], 'delta');
      const says = [
        [1, 1, 4, 5, 4, 5, 6],
        [4, 5, 4, 5, 4, 1, 1],
        [4, 5, 4, 5, 4, 5, 6],
      ];
      for (const [step, ids] of says.entries()) {
        const logits = new Float32Array(7 * 8);
        ids.forEach((id, row) => (logits[8 * row + id] = 1));
        lossTrace(s, {
          trace,
          step,
          table,
          nll: tensor(s, new Float32Array(7).fill(3), [7]),
          kl: zeros(s, [2], 'kl'),
          delta: zero,
          v0: tensor(s, f32([1, 1, 1, 1, 1, 1, 1, 1]), [2, 4]),
          weightDecay: 0,
          stopAfter,
          logits: tensor(s, logits, [7, 8]),
        });
      }
      const all = await read(gpu, trace);
      const column = (i: number): number[][] =>
        [0, 1, 2].map((step) => [0, 1].map((request) => all[8 * (2 * step + request) + i]!));
      assert.equal(column(7), [[1, 1], [1, 1], [2, 2]], 'probable'); // prettier-ignore
      assert.equal(column(6), stopAfter === 2 ? [[0, 0], [0, 0], [1, 1]] : [[1, 1], [1, 1], [1, 1]], 'done'); // prettier-ignore
    }
  });
});

test('twelve steps of Adam follow the formula, with and without the clamp', async () => {
  for (const d of [1, 255, 256, 257, 1601]) {
    for (const clamp of [1e6, 0.5]) {
      await gpu.scope(async (s) => {
        const v0 = noise(3 * d, 9, 0.2, 2);
        const make = (label: string): Tensor => zeros(s, [3, d], label);
        const state = { delta: make('delta'), m: make('m'), v: make('v'), v0: tensor(s, v0, [3, d]) };
        const trace = zeros(s, [12, 3, 8], 'trace');
        const table = twoOfThree(s, 1, 1);
        const want = [0, 2].map((request) => ({
          request,
          v0: v0.subarray(request * d, (request + 1) * d),
          state: {
            delta: Array<number>(d).fill(0),
            m: Array<number>(d).fill(0),
            v: Array<number>(d).fill(0),
          },
        }));
        for (let step = 0; step < 12; step += 1) {
          const g = noise(3 * d, 20 + step, 0.3);
          lossTrace(s, {
            ...state,
            trace,
            table,
            step,
            nll: tensor(s, f32([1, 1]), [2]),
            kl: tensor(s, f32([0, 0]), [2]),
            weightDecay: 0.5,
          });
          const gradient = tensor(s, g, [3, d]);
          const { requests } = table;
          const rates = { learningRate: 0.5, weightDecay: 0.5, clamp };
          adamStep(s, { ...state, trace, requests, step, gradient, ...rates });
          for (const one of want) {
            const own = g.subarray(one.request * d, (one.request + 1) * d);
            one.state = adam(one.state, own, one.v0, step, 0.5, 0.5);
            const limit = clamp * norm(one.v0);
            const length = norm(one.state.delta);
            if (length > limit) one.state.delta = one.state.delta.map((x) => (x * limit) / length);
          }
        }
        // Twelve steps of at most 0.5 each, a few roundings in every one.
        const bound = { reduce: 12, scale: 0.5 };
        const [delta, m, v] = [
          await read(gpu, state.delta),
          await read(gpu, state.m),
          await read(gpu, state.v),
        ];
        for (const one of want) {
          const own = (x: Float32Array): Float32Array => x.subarray(one.request * d, (one.request + 1) * d);
          allclose('delta', own(delta), one.state.delta, bound);
          allclose('m', own(m), one.state.m, bound);
          allclose('v', own(v), one.state.v, { reduce: 12, scale: 0.001 });
        }
        assert.ok(
          delta.subarray(d, 2 * d).every((x) => x === 0),
          'a request that has left',
        );
      });
    }
  }
});

test('nothing moves once the trace says done', async () => {
  await gpu.scope(async (s) => {
    const values = noise(300, 1, 5);
    const trace = zeros(s, [2, 1, 8], 'trace');
    gpu.write(trace, f32([1]), (8 + 6) * 4);
    const [m, v] = [zeros(s, [300], 'm'), zeros(s, [300], 'v')];
    const { requests } = lossTable(s, [{ request: 0, contexts: 1, targetIds: [0] }]);
    const v0 = tensor(s, noise(300, 2), [300]);
    const gradient = tensor(s, noise(300, 3), [300]);
    const state = { delta: tensor(s, values, [300]), m, v, v0, gradient, trace, requests };
    const rates = { learningRate: 0.5, weightDecay: 0.5, clamp: 0.1 };
    adamStep(s, { ...state, ...rates, step: 1 });
    assert.equal(await read(gpu, state.delta), values);
    assert.ok((await read(gpu, m)).every((x) => x === 0));
    adamStep(s, { ...state, ...rates, step: 0 });
    assert.not.equal(await read(gpu, state.delta), values);
  });
});

test('normalise: every row at the same length', async () => {
  for (const d of WIDTHS) {
    const x = noise(3 * d, d, 0.5, 2);
    x[d - 1] = 1e30; // its square is none of float32's: rows are brought to size first
    const want = [0, 1, 2].flatMap((r) => {
      const row = x.subarray(r * d, (r + 1) * d);
      return [...row].map((value) => (value * 7) / norm(row));
    });
    const got = await twice((s) => normalise(s, tensor(s, x, [3, d]), 7));
    allclose('normalised', got, want, { reduce: 4 });
    await gpu.scope(async (s) => {
      const { t: u, canaries } = wide(s, [3, d]);
      gpu.run('edit/normalise', { x: tensor(s, x, [3, d]), u }, { f: d, length: 7 }, { groups: [3] });
      await canaries();
    });
  }
});

test('the spectral norm of a change: of rank one |u| |v|, of rank two the larger of two orthogonal ones', async () => {
  const [f, d] = [65, 33];
  const e = (n: number, at: number, scale: number): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => (i === at ? scale : 0));
  const w = noise(f * d, 1);
  const changed = (
    ...pairs: (readonly [ArrayLike<number>, ArrayLike<number>])[]
  ): Float32Array<ArrayBuffer> =>
    w.map((x, i) => pairs.reduce((sum, [u, v]) => sum + u[Math.floor(i / d)]! * v[i % d]!, x));
  const [u, v] = [noise(f, 2), noise(d, 3)];
  await gpu.scope(async (s) => {
    const norms = (a: Float32Array<ArrayBuffer>): Promise<number> =>
      spectralDifference(gpu, tensor(s, a, [f, d]), tensor(s, w, [f, d]));
    // Sums with W round to 2⁻²⁴ of about 1 in each of f d elements.
    const one = norm(u) * norm(v);
    assert.ok(Math.abs((await norms(changed([u, v]))) - one) < 1e-5 * one);
    const two = changed([e(f, 3, 2), e(d, 5, 1)], [e(f, 9, 1), e(d, 8, 1)]);
    assert.ok(Math.abs((await norms(two)) - 2) < 1e-5);
    assert.is(await norms(w.slice()), 0);
  });
});

test('lambda is the residual over the divisor, even where key and u are nearly orthogonal', async () => {
  for (const [f, d] of [
    [1, 1],
    [257, 64],
    [6400, 1600],
  ] as const) {
    const [vStar, value, key, u] = [noise(d, 1), noise(d, 2), noise(f, 3), noise(f, 4)];
    // Takes key's part along u away, but for what float32 cannot: the divisor is a rounding error of its terms.
    if (f > 1) {
      const along = dot(key, u) / dot(u, u);
      for (let i = 0; i < f; i += 1) key[i]! -= along * u[i]!;
    }
    await gpu.scope(async (s) => {
      const { lambda, stats } = solveLambda(s, {
        vStar: tensor(s, vStar, [d]),
        value: tensor(s, value, [d]),
        key: tensor(s, key, [f]),
        u: tensor(s, u, [f]),
      });
      const got = await readLambdaStats(gpu, stats);
      const divisor = dot(key, u);
      const residual = vStar.map((x, i) => Math.fround(x - value[i]!));
      allclose('divisor', [got.divisor], [divisor], { reduce: 1, scale: 1e-12 * norm(key) * norm(u) });
      allclose(
        'lambda',
        await read(gpu, lambda),
        [...residual].map((x) => x / divisor),
        { reduce: 4 },
      );
      allclose(
        'stats',
        [got.cosine, got.lambdaNorm],
        [divisor / (norm(key) * norm(u)), norm(residual) / Math.abs(divisor)],
        { reduce: f },
      );
    });
  }
});

test('the definition of lambda: within what plain f32 sums may lose', async () => {
  for (const [f, d] of [
    [1, 1],
    [63, 65],
    [257, 64],
  ] as const) {
    const [vStar, value, key, u] = [noise(d, 1), noise(d, 2), noise(f, 3), noise(f, 4)];
    const divisor = dot(key, u);
    const want = vStar.map((x, i) => (x - value[i]!) / divisor);
    const largest = key.reduce((most, k, i) => Math.max(most, Math.abs(k * u[i]!)), 0);
    // The error of k · u over k · u, beside the roundings of the difference and the quotient.
    const lost = (4 * 2 ** -23 * Math.sqrt(f) * largest) / Math.abs(divisor);
    for (const WG of [32, 64, 256])
      await gpu.scope(async (s) => {
        const { t: lambda, canaries } = wide(s, [d]);
        const vectors = { v_star: tensor(s, vStar, [d]), v: tensor(s, value, [d]) };
        const bind = { ...vectors, key: tensor(s, key, [f]), u: tensor(s, u, [f]), lambda };
        gpu.run('edit/lambda_1', bind, { f, d }, { threads: d, overrides: { WG } });
        const got = (await read(gpu, lambda)).subarray(0, d);
        got.forEach((x, i) => {
          const bound = (lost + 4 * 2 ** -23) * Math.abs(want[i]!) + 2 ** -22 / Math.abs(divisor);
          assert.ok(Math.abs(x - want[i]!) <= bound, `${f}, ${d} at ${i}: ${x}, want ${want[i]} ± ${bound}`);
        });
        await canaries();
      });
  }
});

test('rank_one_update: W [F, D] += u lambda^T, f32, f16 and bf16', async () => {
  for (const [f, d] of [
    [1, 2],
    [65, 64],
    [257, 30],
  ] as const) {
    const [w, u, lambda] = [noise(f * d, 1), noise(f, 2), noise(d, 3)];
    const got = await twice((s) => {
      const t = tensor(s, w, [f, d]);
      lowRankUpdate(
        s,
        { tensor: t, layout: 'in-out' },
        { U: tensor(s, u, [f]), Lambda: tensor(s, lambda, [d]) },
      );
      return t;
    });
    allclose('f32', got, rankOne(w, u, lambda), { scale: 4 });

    // Small numbers too, so that some sums are subnormal halves.
    for (const [scale, stored] of [
      [1, 'F16'],
      [2e-4, 'F16'],
      [1e-7, 'F16'],
      [1, 'BF16'],
      [1e-20, 'BF16'],
    ] as const) {
      const narrowed = (x: Float32Array): Uint16Array => new Uint16Array(narrow(stored, x).slice().buffer);
      const halves = narrowed(w.map((x) => x * scale));
      const small = lambda.map((x) => x * scale);
      const widened = widen(stored, new Uint8Array(halves.buffer));
      await gpu.scope(async (s) => {
        const whole = tensor(s, wordsOf(halves), [(f * d) / 2]);
        const t = new Tensor(whole.block, [f, d], stored === 'F16' ? 'f16' : 'bf16');
        lowRankUpdate(
          s,
          { tensor: t, layout: 'in-out' },
          { U: tensor(s, u, [f]), Lambda: tensor(s, small, [d]) },
        );
        const bits = new Uint16Array((await readU32(gpu, whole)).buffer);
        // The adapter may or may not fuse product and sum: either rounding of the f32 sum is right.
        const exact = rankOne(widened, u, small);
        const apart = widened.map((x, i) => x + Math.fround(u[Math.floor(i / d)]! * small[i % d]!));
        const [fused, split] = [narrowed(f32(exact)), narrowed(apart)];
        const wrong = bits.findIndex((x, i) => x !== fused[i] && x !== split[i]);
        assert.is(wrong, -1, `${stored} at ${scale}: half ${bits[wrong]}, want ${split[wrong]} at ${wrong}`);
      });
    }
  }
});

/** The same of a W stored in 16 bits: the f32 sum, rounded once to 11 or 8 bits. */
async function checkHalves(
  numbers: Float32Array,
  shape: [number, number],
  layout: 'in-out' | 'out-in',
  { U, Lambda, rank }: { U: Float32Array<ArrayBuffer>; Lambda: Float32Array<ArrayBuffer>; rank: number },
): Promise<void> {
  const [f, d] = layout === 'in-out' ? shape : [shape[1], shape[0]];
  for (const [dtype, stored, bits] of [
    ['f16', 'F16', 11],
    ['bf16', 'BF16', 8],
  ] as const) {
    const halves = new Uint16Array(narrow(stored, numbers).slice().buffer);
    const w = widen(stored, new Uint8Array(halves.buffer));
    await gpu.scope(async (s) => {
      const whole = tensor(s, wordsOf(halves), [w.length / 2]);
      const t = { tensor: new Tensor(whole.block, shape, dtype), layout };
      lowRankUpdate(s, t, { U: tensor(s, U, [f, rank]), Lambda: tensor(s, Lambda, [rank, d]), rank });
      const got = widen(stored, new Uint8Array((await readU32(gpu, whole)).buffer));
      got.forEach((x, i) => {
        const [row, col] = [Math.floor(i / shape[1]), i % shape[1]];
        const [a, b] = layout === 'in-out' ? [row, col] : [col, row];
        let want = w[i]!;
        for (let n = 0; n < rank; n += 1) want += U[a * rank + n]! * Lambda[n * d + b]!;
        const bound =
          2 ** -bits * Math.abs(want) + 4 * 2 ** -23 * Math.sqrt(rank + 1) * (16 + Math.abs(want));
        assert.ok(Math.abs(x - want) <= bound, `${dtype} ${layout}, rank ${rank}, ${i}: ${x} for ${want}`);
      });
    });
  }
}

test('W += U Lambda of rank 1 to 65, in both layouts, in f32, f16 and bf16', async () => {
  for (const [f, d, rank] of [
    [65, 30, 1],
    [33, 64, 2],
    [70, 66, 7],
    [34, 33, 3],
    [20, 12, 65],
  ] as const) {
    const [U, Lambda] = [noise(f * rank, 2), noise(rank * d, 3)];
    for (const layout of ['in-out', 'out-in'] as const) {
      const shape: [number, number] = layout === 'in-out' ? [f, d] : [d, f];
      const w = noise(f * d, 1);
      const want = Array.from({ length: f * d }, (_, i) => {
        const [row, col] = [Math.floor(i / shape[1]), i % shape[1]];
        const [a, b] = layout === 'in-out' ? [row, col] : [col, row];
        let sum = w[i]!;
        for (let n = 0; n < rank; n += 1) sum += U[a * rank + n]! * Lambda[n * d + b]!;
        return sum;
      });
      const got = await twice((s) => {
        const t = tensor(s, w, shape);
        lowRankUpdate(
          s,
          { tensor: t, layout },
          { U: tensor(s, U, [f, rank]), Lambda: tensor(s, Lambda, [rank, d]), rank },
        );
        return t;
      });
      allclose(`${layout}, rank ${rank}`, got, want, { reduce: rank + 1, scale: 16 });
      await checkHalves(w, shape, layout, { U, Lambda, rank });
    }
  }
});

test('rank_one_update in windows writes every row once', async () => {
  const [f, d] = [131, 64];
  const [w, u, lambda] = [noise(f * d, 1), noise(f, 2), noise(d, 3)];
  const got = await gpu.scope(async (s) => {
    const t = tensor(s, w, [f, d]);
    for (const [first, to] of [
      [0, 100],
      [100, 131],
    ] as const) {
      const bind = { u: tensor(s, u, [f]), lambda: tensor(s, lambda, [d]), w: t.slice(first, to) };
      gpu.run('edit/rank_one_update', bind, { first, rows: to - first, d }, { threads: (to - first) * d });
    }
    return read(gpu, t);
  });
  allclose('windows', got, rankOne(w, u, lambda), { scale: 4 });
});

test('frobenius: f32, f16 and bf16, one element to many stretches, the same bits twice', async () => {
  for (const [rows, cols] of [
    [1, 1],
    [1, 4097],
    [257, 130],
  ] as const) {
    const w = noise(rows * cols, 1, 3);
    const value = await gpu.scope((s) => frobenius(gpu, tensor(s, w, [rows, cols])));
    allclose('f32', [value], [norm(w)], { reduce: 64 });
    assert.is(await gpu.scope((s) => frobenius(gpu, tensor(s, w, [rows, cols]))), value);
  }
  for (const [dtype, stored] of [
    ['f16', 'F16'],
    ['bf16', 'BF16'],
  ] as const)
    await gpu.scope(async (s) => {
      const bytes = narrow(stored, noise(130 * 66, 2)).slice();
      const words = tensor(s, new Uint32Array(bytes.buffer), [(130 * 66) / 2]);
      const got = await frobenius(gpu, new Tensor(words.block, [130, 66], dtype));
      allclose(dtype, [got], [norm(widen(stored, bytes))], { reduce: 64 });
    });
});

test('sizes that do not fit are named', async () => {
  await gpu.scope((s) => {
    const t = (n: number): Tensor => zeros(s, [n], 'v');
    assert.throws(
      () => addAtRows(s, zeros(s, [2, 3], 'x'), t(4), lookupsOf(s, [[1]])),
      /delta has 4 numbers for 1 requests/,
    );
    assert.throws(() => meanRows(s, new Tensor(t(1).block, [0, 3]), [1]), /no rows/);
    assert.throws(() => meanRows(s, zeros(s, [3, 3], 'x'), [0.5, 0.5]), /has 3 rows, 2 a request/);
    const w = { tensor: zeros(s, [2, 3], 'W'), layout: 'in-out' } as const;
    assert.throws(() => lowRankUpdate(s, w, { U: t(2), Lambda: t(4) }), /Lambda \[4\]/);
    assert.throws(() => solveLambda(s, { vStar: t(3), value: t(3), key: t(2), u: t(5) }), /key 2 and u 5/);
  });
});

test.run();
