import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError, UsageError } from '../src/errors.ts';
import { Random, sampleTopK, topK } from '../src/models/random.ts';
import { thrown } from './tokenizers.ts';

const test = suite('random');

/** xoshiro128** in 64-bit integers, from the paper's definition. */
function* xoshiro(state: [bigint, bigint, bigint, bigint]): Generator<number> {
  const mask = (1n << 32n) - 1n;
  const rotate = (x: bigint, by: bigint) => ((x << by) | (x >> (32n - by))) & mask;
  const s = [...state] as [bigint, bigint, bigint, bigint];
  for (;;) {
    yield Number((rotate((s[1] * 5n) & mask, 7n) * 9n) & mask);
    const t = (s[1] << 9n) & mask;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11n);
  }
}

test('the sequence is xoshiro128**', () => {
  const random = new Random(0);
  const state = ['a', 'b', 'c', 'd'].map((name) => BigInt((Reflect.get(random, name) as number) >>> 0));
  const want = xoshiro(state as [bigint, bigint, bigint, bigint]);
  for (let i = 0; i < 1000; i++) assert.is(random.bits(), want.next().value);
});

test('the same seed and stream give the same numbers, others give others', () => {
  const draws = (seed: number, stream?: number) => {
    const random = new Random(seed, stream);
    return Array.from({ length: 4 }, () => random.bits()).join();
  };
  assert.is(draws(5), draws(5, 0));
  const seen = new Set<string>();
  for (let seed = 0; seed < 100; seed++)
    for (let stream = 0; stream < 20; stream++) seen.add(draws(seed, stream));
  for (const seed of [2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1]) seen.add(draws(seed));
  assert.is(seen.size, 2003);
  for (const seed of [-1, 0.5, Number.NaN, 2 ** 53])
    assert.instance(
      thrown(() => new Random(seed)),
      UsageError,
    );
});

test('uniform: in [0, 1), every sixteenth equally often, also as the first draw of neighbouring seeds', () => {
  const N = 16_000;
  const random = new Random(42);
  const runs = [
    Array.from({ length: N }, () => random.uniform()),
    Array.from({ length: N }, (_, seed) => new Random(seed).uniform()),
    Array.from({ length: N }, (_, stream) => new Random(1, stream).uniform()),
  ];
  for (const run of runs) {
    const counts = new Array<number>(16).fill(0);
    for (const u of run) {
      assert.ok(u >= 0 && u < 1);
      counts[Math.floor(u * 16)]! += 1;
    }
    // Chi-square of 15 degrees of freedom: mean 15, deviation √30; 15 + 5√30 is passed once in 10^4 at most.
    const chi = counts.reduce((sum, count) => sum + (count - N / 16) ** 2 / (N / 16), 0);
    assert.ok(chi < 15 + 5 * Math.sqrt(30), `chi-square ${chi}`);
  }
});

test('top k: best first, the lower id among equals', () => {
  const logits = Float32Array.of(1, 3, 2, 3, -Infinity, 2);
  assert.equal(topK(logits, 1), [1]);
  assert.equal(topK(logits, 3), [1, 3, 2]);
  assert.equal(topK(logits, 9), [1, 3, 2, 5, 0, 4]);
  const random = new Random(3);
  const many = Float32Array.from({ length: 500 }, () => Math.floor(random.uniform() * 40));
  const sorted = Array.from(many.keys()).sort((a, b) => many[b]! - many[a]! || a - b);
  for (const k of [1, 5, 100, 500]) assert.equal(topK(many, k), sorted.slice(0, k));
});

test('sampling follows the softmax of the k best', () => {
  const logits = Float32Array.of(0, Math.log(4), 90, Math.log(2), 90 + Math.log(3));
  const random = new Random(1);
  const N = 20_000;
  const counts = new Array<number>(5).fill(0);
  for (let i = 0; i < N; i++) counts[sampleTopK(logits.subarray(0, 4), 3, random)]! += 1;
  assert.equal(counts, [0, 0, N, 0, 0], 'e^-88 of the rest');
  counts.fill(0);
  const near = Float32Array.of(0, Math.log(4), -1, Math.log(2), -50);
  for (let i = 0; i < N; i++) counts[sampleTopK(near, 3, random)]! += 1;
  for (const [id, p] of [1 / 7, 4 / 7, 0, 2 / 7, 0].entries()) {
    const deviation = Math.sqrt(N * p * (1 - p));
    assert.ok(Math.abs(counts[id]! - N * p) <= 5 * deviation, `${id}: ${counts[id]} of ${N}, want ${N * p}`);
  }
});

test('one number is drawn a token, whatever k', () => {
  const logits = Float32Array.of(1, 2, 3);
  const [a, b] = [new Random(9), new Random(9)];
  for (const k of [1, 2, 3, 7]) {
    sampleTopK(logits, k, a);
    b.bits();
  }
  assert.is(a.bits(), b.bits());
});

test('damaged logits and a wrong k are errors', () => {
  const random = new Random(0);
  assert.instance(
    thrown(() => sampleTopK(Float32Array.of(1, NaN), 2, random)),
    ModelError,
  );
  assert.instance(
    thrown(() => sampleTopK(Float32Array.of(1, Infinity), 2, random)),
    ModelError,
  );
  assert.instance(
    thrown(() => sampleTopK(new Float32Array(0), 2, random)),
    ModelError,
  );
  for (const k of [0, -1, 1.5])
    assert.instance(
      thrown(() => sampleTopK(Float32Array.of(1), k, random)),
      UsageError,
    );
});

test.run();
