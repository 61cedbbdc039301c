import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attention } from '../src/gpt2/attention.ts';
import { packRows, uploadBatch } from '../src/gpt2/batch.ts';
import type { Batch, GpuBatch } from '../src/gpt2/batch.ts';
import type { Scope } from '../src/gpu/scope.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { Tape } from '../src/tensor/tape.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/attention.ts';

const test = suite('attention');

interface Example {
  name: string;
  heads: number;
  size: number;
  batch: Batch;
  /** Rows of the cache, its stride and the column of its keys. */
  cache: [number, number, number];
}

/** Rows of the given lengths, whose first `from` tokens are cached with a gap of 3 rows before each. */
function example(
  heads: number,
  size: number,
  lengths: number[],
  from: number[] = lengths.map(() => 0),
): Example {
  const D = heads * size;
  let end = 0;
  const cacheStart = from.map((n) => (end += n + 3) - n);
  const batch = packRows(
    lengths.map((n) => Array<number>(n).fill(0)),
    { from, cacheStart },
  );
  const cache: [number, number, number] = end === 3 * from.length ? [0, 0, 0] : [end, 2 * D + 8, 4];
  return { name: `H${heads} S${size} rows ${lengths} from ${from}`, heads, size, batch, cache };
}

const EXAMPLES = [
  example(1, 1, [1]),
  example(2, 3, [5, 1]),
  example(3, 32, [1, 7, 8, 9, 2], [0, 3, 0, 8, 1]),
  example(2, 64, [33, 31, 1, 17], [0, 20, 0, 0]),
  example(1, 64, [257]),
  example(2, 32, [70, 129], [69, 128]),
];

function inputs(e: Example): {
  qkv: Float32Array<ArrayBuffer>;
  cache: Float32Array<ArrayBuffer>;
  c: reference.Case;
} {
  const [P, stride, cacheK] = e.cache;
  const qkv = noise(e.batch.ids.length * 3 * e.heads * e.size, e.size, 0, 1.5);
  const cache = noise(P * stride, e.heads, 0, 1.5);
  const { spans } = e.batch;
  return { qkv, cache, c: { qkv, cache, cacheStride: stride, cacheK, spans, heads: e.heads, size: e.size } };
}

function upload(
  s: Scope,
  e: Example,
): { qkv: Tensor; batch: GpuBatch; cache?: { rows: Tensor; stride: number; keys: number } } {
  const { qkv, cache } = inputs(e);
  const [P, stride, keys] = e.cache;
  const made = {
    qkv: tensor(s, qkv, [e.batch.ids.length, 3 * e.heads * e.size]),
    batch: uploadBatch(s, e.batch),
  };
  return P > 0 ? { ...made, cache: { rows: tensor(s, cache, [P, stride]), stride, keys } } : made;
}

for (const e of EXAMPLES)
  test(`attention_1: ${e.name}`, async () => {
    for (const WG of [32, 64, 256])
      await gpu.scope(async (s) => {
        const { qkv, batch, cache } = upload(s, e);
        const [m, D] = [batch.tokens, e.heads * e.size];
        const [out, logsumexp] = [wide(s, [m, D]), wide(s, [m, e.heads])];
        const params = {
          m,
          heads: e.heads,
          s: e.size,
          cache_stride: e.cache[1],
          cache_k: e.cache[2],
          scale: 1 / Math.sqrt(e.size),
        };
        const bindings = {
          qkv,
          cache: cache?.rows ?? qkv,
          spans: batch.spans,
          out: out.t,
          logsumexp: logsumexp.t,
        };
        gpu.run('gpt2/attention_1', bindings, params, { threads: m * e.heads, overrides: { WG } });
        const want = reference.attention(inputs(e).c);
        // A score is a sum of S products of size 3²; its error, magnified by nothing, is the relative error of p.
        const bound = { reduce: e.size, scale: 6 };
        allclose('out', (await read(gpu, out.t)).subarray(0, m * D), want.out, bound);
        allclose('logsumexp', (await read(gpu, logsumexp.t)).subarray(0, m * e.heads), want.logsumexp, bound);
        await out.canaries();
        await logsumexp.canaries();
      });
  });

for (const e of EXAMPLES)
  test(`attention_backward_1: ${e.name}`, async () => {
    for (const WG of [32, 64, 256])
      await gpu.scope(async (s) => {
        const { qkv, batch, cache } = upload(s, e);
        const [m, D] = [batch.tokens, e.heads * e.size];
        const { c } = inputs(e);
        const forward = reference.attention(c);
        const dout = noise(m * D, 7);
        const [dqkv, delta] = [wide(s, [m, 3 * D]), wide(s, [m, e.heads])];
        const params = { m, heads: e.heads, s: e.size, scale: 1 / Math.sqrt(e.size) };
        const cached = { cache_stride: e.cache[1], cache_k: e.cache[2] };
        const common = {
          qkv,
          logsumexp: tensor(s, Float32Array.from(forward.logsumexp), [m, e.heads]),
          dout: tensor(s, dout, [m, D]),
          dqkv: dqkv.t,
          delta: delta.t,
        };
        const out = tensor(s, Float32Array.from(forward.out), [m, D]);
        const { spans, followers } = batch;
        const grid = { threads: m * e.heads, overrides: { WG } };
        const queries = { ...common, cache: cache?.rows ?? qkv, spans, out };
        gpu.run('gpt2/attention_backward_q_1', queries, { ...params, ...cached }, grid);
        gpu.run('gpt2/attention_backward_kv_1', { ...common, followers }, params, grid);
        // Sums of S products twice over, then of as many as there are tokens; terms up to 4³.
        const bound = { reduce: e.size, scale: 30 };
        allclose(
          'dqkv',
          (await read(gpu, dqkv.t)).subarray(0, m * 3 * D),
          reference.attentionBackward(c, dout),
          bound,
        );
        await dqkv.canaries();
        await delta.canaries();
      });
  });

test('the reference gradient equals its central difference', () => {
  const { c } = inputs(example(2, 3, [3, 1, 4], [0, 0, 2]));
  const dout = noise((c.spans.length / 4) * 6, 3);
  const slope = centralDifference((qkv) => dot(reference.attention({ ...c, qkv }).out, dout), c.qkv);
  allclose('slope', slope, reference.attentionBackward(c, dout), { scale: 10 });
});

test('the op records its backward', async () => {
  const tape = new Tape();
  await gpu.scope(async (s) => {
    const e = example(2, 32, [5, 9], [0, 4]);
    const { qkv, batch, cache } = upload(s, e);
    tape.watch(qkv);
    const out = attention(s, qkv, batch, { heads: 2, ...(cache ? { cache } : {}) });
    const { c } = inputs(e);
    const want = reference.attention(c).out;
    allclose('out', await read(gpu, out), want, { reduce: 32, scale: 6 });
    const dqkv = await read(gpu, tape.backward(s, out, qkv)); // seeded with out itself
    allclose('dqkv', dqkv, reference.attentionBackward(c, want), { reduce: 32, scale: 30 });
  }, tape);
});

test('the op refuses widths and batches that do not fit', async () => {
  await gpu.scope((s) => {
    const { qkv, batch } = upload(s, example(2, 3, [5]));
    assert.throws(() => attention(s, qkv, batch, { heads: 4 }), /5 tokens, 3 · 4 heads/);
    assert.throws(() => attention(s, qkv.slice(0, 3), batch, { heads: 2 }), /\[3, 18\]/);
  });
});

test.run();
