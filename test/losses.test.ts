import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lossTable, valueLoss } from '../src/edit/value-loss.ts';
import { klDivergence, logSoftmaxRows, logsumexp, lossGradient, nll } from '../src/models/losses.ts';
import { Tape } from '../src/tensor/tape.ts';
import { indices } from '../src/tensor/tensor.ts';
import { empty, gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference } from './reference/difference.ts';
import * as reference from './reference/losses.ts';

const test = suite('losses');

/** [R, V]: one logit, about a workgroup's width, primes, and GPT-2's vocabulary. */
const SHAPES: [number, number][] = [
  [1, 1],
  [2, 2],
  [3, 127],
  [2, 129],
  [5, 257],
  [3, 50257],
];

/** Logits as GPT-2 makes them: far below zero, spread over tens. */
function logitsOf(rows: number, v: number): Float32Array<ArrayBuffer> {
  return noise(rows * v, rows + v, -100, 4);
}

function rowsOf(x: Float32Array, v: number): Float32Array[] {
  return Array.from({ length: x.length / v }, (_, r) => x.subarray(r * v, r * v + v));
}

/** Ids spread over the vocabulary, first and last among them. */
function targetsOf(rows: number, v: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: rows }, (_, r) => (r === 0 ? v - 1 : (r * 7919 - 7919) % v));
}

// x − m is about 40 at most and rounds once, as do l and their difference: 40² terms' worth of rounding.
const LOG_P = { reduce: 40 ** 2, scale: 1 };

for (const WG of [32, 128, 256])
  test(`every kernel at every shape, workgroups of ${WG}`, async () => {
    for (const [rows, v] of SHAPES)
      await gpu.scope(async (s) => {
        const x = logitsOf(rows, v);
        const logits = tensor(s, x, [rows, v]);
        const ids = targetsOf(rows - 1, v);
        const before = reference.logSoftmax(noise(v, 5, -100, 4));
        const last = rows - 1;
        const factor = 0.0625;
        const weightOf = (r: number): number => (r + 1) / rows;
        const overrides = { WG };
        const all = rowsOf(x, v);
        const name = `${rows}x${v}`;

        const lse = wide(s, [rows, 2]);
        gpu.run('models/logsumexp', { logits, y: lse.t }, { rows, v }, { groups: rows, overrides });
        const parts = (await read(gpu, lse.t)).subarray(0, 2 * rows);
        all.forEach((row, r) => {
          assert.is(parts[2 * r], Math.max(...row), `${name}: the first part is the maximum`);
          const want = reference.logSoftmax(row);
          allclose(`${name} logsumexp`, [parts[2 * r]! - row[0]! + parts[2 * r + 1]!], [-want[0]!], LOG_P);
        });
        await lse.canaries();

        const logP = wide(s, [v]);
        gpu.run(
          'models/log_softmax',
          { logits, logsumexp: lse.t, y: logP.t },
          { n: 1, v, first: last },
          { threads: v, overrides },
        );
        const now = reference.logSoftmax(all[last]!);
        allclose(`${name} log_softmax`, (await read(gpu, logP.t)).subarray(0, v), now, LOG_P);
        await logP.canaries();

        // Of two requests the second.
        const logP0 = tensor(s, Float32Array.from([...before.map(() => NaN), ...before]), [2, v]);
        const requests = tensor(s, Uint32Array.of(1, 0, 1, 1), [1, 4]);
        const kl = wide(s, [1]);
        const klBindings = { logits, logsumexp: lse.t, log_p0: logP0, requests, y: kl.t };
        gpu.run('models/kl_divergence', klBindings, { v, first: last, factor }, { groups: [1], overrides });
        const wantKl = factor * reference.kl(all[last]!, Float32Array.from(before));
        // Σ p |ln p − ln p0| is below 40, and p carries 40 roundings.
        allclose(`${name} kl`, (await read(gpu, kl.t)).subarray(0, 1), [wantKl], {
          reduce: 40 ** 2,
          scale: factor,
        });
        await kl.canaries();

        const targets = tensor(s, last > 0 ? ids : new Uint32Array(1), [Math.max(last, 1)]);
        if (last > 0) {
          const losses = wide(s, [last]);
          gpu.run(
            'models/nll',
            {
              logits,
              logsumexp: lse.t,
              rows: indices(s, [...Array(last).keys()], 'rows'),
              targets,
              y: losses.t,
            },
            { n: last, v },
            { threads: last, overrides },
          );
          const want = all.slice(0, last).map((row, r) => reference.nll(row, ids[r]!));
          allclose(`${name} nll`, (await read(gpu, losses.t)).subarray(0, last), want, LOG_P);
          await losses.canaries();
        }

        const weights = tensor(
          s,
          Float32Array.from({ length: rows }, (_, r) => weightOf(r)),
          [rows],
        );
        const dlogits = wide(s, [rows, v]);
        gpu.run(
          'models/loss_gradient',
          {
            logits,
            logsumexp: lse.t,
            targets,
            weights,
            log_p0: logP0,
            kl: kl.t,
            requests,
            dlogits: dlogits.t,
          },
          { rows, v, targets: last, factor },
          { threads: [v, rows], overrides },
        );
        const gradient = rowsOf((await read(gpu, dlogits.t)).subarray(0, rows * v), v);
        all.slice(0, last).forEach((row, r) => {
          const want = reference.nllGradient(row, ids[r]!).map((g) => weightOf(r) * g);
          allclose(`${name} nll gradient`, gradient[r]!, want, { reduce: 40 ** 2 });
        });
        // Divided by p, so that rare tokens count as much as frequent ones; kl is a sum over V.
        const p = now.map(Math.exp);
        const want = reference
          .klGradient(all[last]!, Float32Array.from(before))
          .map((g, i) => (factor * g) / p[i]!);
        allclose(
          `${name} kl gradient`,
          gradient[last]!.map((g, i) => g / p[i]!),
          want,
          { reduce: 40 ** 2 + v, scale: factor },
        );
        await dlogits.canaries();
      });
  });

test('reference gradients equal their central differences', () => {
  const x = noise(9, 1, 0, 2);
  const before = reference.logSoftmax(noise(9, 2, 0, 2));
  const bound = { scale: 1 };
  allclose(
    'nll',
    centralDifference((at) => reference.nll(at, 4), x),
    reference.nllGradient(x, 4),
    bound,
  );
  allclose(
    'kl',
    centralDifference((at) => reference.kl(at, before), x),
    reference.klGradient(x, before),
    bound,
  );
});

test('logits that did not move have a divergence, and a gradient, of exactly zero', async () => {
  await gpu.scope(async (s) => {
    const [rows, v] = [2, 50257];
    const logits = tensor(s, logitsOf(rows, v), [rows, v]);
    const lse = logsumexp(s, logits);
    const logP0 = logSoftmaxRows(s, logits, [1, 1], lse);
    const { targets, weights, requests } = lossTable(s, [{ request: 0, contexts: 1, targetIds: [3] }]);
    const drift = { logP0, requests, klFactor: 1 };
    const kl = klDivergence(s, logits, 1, drift, lse);
    assert.is((await read(gpu, kl))[0], 0);
    const gradient = await read(gpu, lossGradient(s, logits, targets, lse, weights, { ...drift, kl }));
    assert.ok(gradient.subarray(v).every((g) => g === 0));
  });
});

test('the value loss of two requests: first pass and a later one, with the gradient of their sum', async () => {
  // Two contexts of one token, one of two tokens, and a KL row of each.
  const [rows, v, klFactor] = [6, 257, 0.0625];
  const ids = [3, 256, 17];
  const first = logitsOf(rows, v);
  const later = noise(rows * v, 8, -100, 4);
  await gpu.scope(async (s) => {
    const logP0 = empty(s, [2, v], 'log_p0');
    const table = lossTable(s, [
      { request: 0, contexts: 2, targetIds: [ids[0]!] },
      { request: 1, contexts: 1, targetIds: [ids[1]!, ids[2]!] },
    ]);
    const start = valueLoss(s, tensor(s, first, [rows, v]), table, logP0, { first: true, klFactor });
    assert.equal([...(await read(gpu, start.kl))], [0, 0]);

    const tape = new Tape();
    await gpu.scope(async (inner) => {
      const logits = tensor(inner, later, [rows, v]);
      tape.watch(logits);
      const loss = valueLoss(inner, logits, table, logP0, { first: false, klFactor });
      const gradient = await read(gpu, tape.backward(s, loss.nll, logits));
      const before = rowsOf(first, v).slice(4).map(reference.logSoftmax);
      const targets = [ids[0]!, ids[0]!, ids[1]!, ids[2]!];
      const slope = centralDifference(
        (x) => {
          const at = (r: number): Float64Array => x.subarray(r * v, (r + 1) * v);
          const mean = targets.reduce((sum, id, r) => sum + reference.nll(at(r), id) / 2, 0);
          return mean + klFactor * (reference.kl(at(4), before[0]!) + reference.kl(at(5), before[1]!));
        },
        later,
        1e-4,
      );
      allclose('gradient', gradient, slope, { reduce: 40 ** 2, scale: 0.01 });
    }, tape);
  });
});

test('losses refuse targets that do not fit the logits', async () => {
  await gpu.scope((s) => {
    const logits = tensor(s, noise(6, 1), [2, 3]);
    const three = tensor(s, new Uint32Array(3), [3]);
    assert.throws(() => nll(s, logits, tensor(s, new Uint32Array(2), [2]), three), /2 rows for 3 targets/);
    assert.throws(
      () => lossGradient(s, logits, three, logsumexp(s, logits), three),
      /2 rows of logits, 3 targets/,
    );
    const options = { first: true, klFactor: 1 };
    const table = lossTable(s, [{ request: 0, contexts: 3, targetIds: [1] }]);
    assert.throws(() => valueLoss(s, logits, table, empty(s, [3], 'p'), options), /\[2, 3\], 3 targets/);
  });
});

test.run();
