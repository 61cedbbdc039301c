import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attention, own } from '../src/models/attention.ts';
import {
  ATTENTION,
  ATTENTION_BACKWARD_KV,
  ATTENTION_BACKWARD_Q,
  tileSizeFor,
} from '../src/models/attention-rungs.ts';
import type { AttentionRung, AttentionShape } from '../src/models/attention-rungs.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { headBlocks, headTriples, qkvWidth } from '../src/models/heads.ts';
import type { HeadLayout } from '../src/models/heads.ts';
import type { Batch, GpuBatch } from '../src/models/batch.ts';
import { choose, gridOf } from '../src/gpu/rung.ts';
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
  heads: HeadLayout;
  batch: Batch;
  /** Rows of the cache, its stride and the column of its keys. */
  cache: [number, number, number];
}

/** Rows of the given lengths, whose first `from` tokens are cached with a gap of 3 rows before each. */
function example(heads: HeadLayout, lengths: number[], from: number[] = lengths.map(() => 0)): Example {
  let end = 0;
  const width = qkvWidth(heads);
  const cacheStart = from.map((n) => (end += n + 3) - n);
  const batch = packRows(
    lengths.map((n) => Array<number>(n).fill(0)),
    { from, cacheStart },
  );
  const cache: [number, number, number] = end === 3 * from.length ? [0, 0, 0] : [end, width - heads.k + 8, 4];
  return { name: `${nameOf(heads)} rows ${lengths} from ${from}`, heads, batch, cache };
}

const nameOf = ({ H, KV, S, stride }: HeadLayout): string =>
  `H${H}${KV < H ? `/${KV}` : ''} S${S}${stride > S ? ' q k v by head' : ''}`;

/** As many heads of keys as of queries, as in GPT-2, unless said otherwise. */
const blocks = (H: number, S: number, KV = H): HeadLayout => headBlocks({ H, KV, S });
const triples = (H: number, S: number): HeadLayout => headTriples({ H, S });

const EXAMPLES = [
  example(blocks(1, 1), [1]),
  example(blocks(2, 3), [5, 1]),
  example(blocks(3, 32), [1, 7, 8, 9, 2], [0, 3, 0, 8, 1]),
  example(blocks(2, 64), [33, 31, 1, 17], [0, 20, 0, 0]),
  example(blocks(1, 68), [9, 12], [0, 5]),
  example(blocks(2, 20), [4, 8, 16], [1, 0, 15]),
  example(blocks(1, 64), [257]),
  example(blocks(2, 32), [70, 129], [69, 128]),
  // Llama, Mistral, Qwen: queries share keys; GPT-NeoX: q, k and v of a head together.
  example(blocks(9, 8, 3), [1, 7, 8, 9, 2], [0, 3, 0, 8, 1]),
  example(blocks(4, 64, 1), [11, 10], [0, 9]),
  example(blocks(6, 3, 2), [5, 3], [0, 2]),
  example(triples(3, 16), [1, 7, 8, 9, 2], [0, 3, 0, 8, 1]),
  example(triples(2, 5), [5, 4], [2, 0]),
];

function inputs(e: Example): {
  qkv: Float32Array<ArrayBuffer>;
  cache: Float32Array<ArrayBuffer>;
  c: reference.Case;
} {
  const [P, stride, cacheK] = e.cache;
  const { heads, batch } = e;
  const qkv = noise(batch.ids.length * qkvWidth(heads), heads.S, 0, 1.5);
  const cache = noise(P * stride, heads.H, 0, 1.5);
  return { qkv, cache, c: { qkv, cache, cacheStride: stride, cacheK, spans: batch.spans, heads } };
}

function shapeOf(e: Example, batch: GpuBatch): AttentionShape {
  const [rows, cacheStride, cacheKeys] = e.cache;
  const cache = { cached: rows > 0, cacheStride, cacheKeys };
  const { tokens, tileSize, tiles } = batch;
  return { tokens, heads: e.heads, ...cache, tiles: tiles.rows, tileSize };
}

function upload(
  s: Scope,
  e: Example,
  tileSize?: number,
): { qkv: Tensor; batch: GpuBatch; cache?: { rows: Tensor; stride: number; keys: number } } {
  const { qkv, cache } = inputs(e);
  const [P, stride, keys] = e.cache;
  const made = {
    qkv: tensor(s, qkv, [e.batch.ids.length, qkvWidth(e.heads)]),
    batch: uploadBatch(s, e.batch, tileSize),
  };
  return P > 0 ? { ...made, cache: { rows: tensor(s, cache, [P, stride]), stride, keys } } : made;
}

/** Overrides to try instead of those that a rung takes by itself, and the longest tiles that go with them. */
function settings(rung: AttentionRung, e: Example): { overrides: Record<string, number>; tile: number }[] {
  const { tile = 2, kernel } = rung;
  if (/_(1|keys|queries)$/.test(kernel)) return [32, 64, 256].map((WG) => ({ overrides: { WG }, tile }));
  if (kernel === 'models/attention_workgroup')
    return [
      { overrides: {}, tile },
      { overrides: { WG: 32, KEYS: 31 }, tile: 32 },
      { overrides: { WG: 16, KEYS: 8 }, tile: 16 },
    ];
  const short = [tile, 1].map((length) => ({ overrides: {}, tile: length }));
  // Without a prefix anywhere, PREFIX may have either value; and a lane may always have two columns.
  const more = { ...(e.cache[0] > 0 ? {} : { PREFIX: 1 }), COLUMNS: 2 };
  return [...short, { overrides: kernel.includes('_kv_') ? {} : more, tile }];
}

async function forward(
  rung: AttentionRung,
  e: Example,
  want: ReturnType<typeof reference.attention>,
): Promise<number> {
  let tried = 0;
  for (const { overrides, tile } of settings(rung, e))
    await gpu.scope(async (s) => {
      const { qkv, batch, cache } = upload(s, e, tile);
      const shape = shapeOf(e, batch);
      if (!rung.fits(shape, gpu.adapter)) return;
      tried += 1;
      const { tokens, cacheStride, cacheKeys } = shape;
      const { H, S } = e.heads;
      const [out, logsumexp] = [wide(s, [tokens, H * S]), wide(s, [tokens, H])];
      const operands = {
        qkv,
        cache: cache?.rows ?? qkv,
        spans: batch.spans,
        out: out.t,
        logsumexp: logsumexp.t,
      };
      const grid = gridOf(rung, shape, gpu.adapter);
      gpu.run(
        rung.kernel,
        rung.tile ? { ...operands, tiles: batch.tiles } : operands,
        { ...own(shape), cache_stride: cacheStride, cache_k: cacheKeys },
        { ...grid, overrides: { ...grid.overrides, ...overrides } },
      );
      // A score is a sum of S products of size 3²; its error, magnified by nothing, is the relative error of p.
      const bound = { reduce: S, scale: 6 };
      const name = `${rung.kernel}, tiles of ${tile} ${JSON.stringify(overrides)}`;
      allclose(name, (await read(gpu, out.t)).subarray(0, out.t.size), want.out, bound);
      allclose(name, (await read(gpu, logsumexp.t)).subarray(0, tokens * H), want.logsumexp, bound);
      await out.canaries();
      await logsumexp.canaries();
    });
  return tried;
}

for (const e of EXAMPLES)
  test(`forward: ${e.name}`, async () => {
    const want = reference.attention(inputs(e).c);
    const tried: string[] = [];
    for (const rung of ATTENTION) if ((await forward(rung, e, want)) > 0) tried.push(rung.kernel);
    if (gpu.adapter.kind === 'software')
      assert.is(tried.length, e.heads.S % 4 > 0 ? 1 : e.heads.S > 64 ? 4 : 5);
  });

for (const e of EXAMPLES)
  test(`backward: ${e.name}`, async () => {
    const { c } = inputs(e);
    const { out, logsumexp } = reference.attention(c);
    const dout = noise(out.length, 7);
    const want = reference.attentionBackward(c, dout);
    for (const [i, q] of ATTENTION_BACKWARD_Q.entries())
      for (const kv of ATTENTION_BACKWARD_KV.slice(i, i + 1))
        // rungs of a kind fit the same shapes
        for (const { change, tile } of [
          ...settings(q, e).map(({ overrides, tile }) => ({ change: [overrides, {}] as const, tile })),
          ...settings(kv, e).map(({ overrides, tile }) => ({ change: [{}, overrides] as const, tile })),
        ])
          await gpu.scope(async (s) => {
            const { qkv, batch, cache } = upload(s, e, tile);
            const shape = shapeOf(e, batch);
            if (!q.fits(shape, gpu.adapter) || !kv.fits(shape, gpu.adapter)) return;
            const { tokens, cacheStride, cacheKeys } = shape;
            const { H, S } = e.heads;
            const [dqkv, delta] = [wide(s, [tokens, qkvWidth(e.heads)]), wide(s, [tokens, H])];
            const common = {
              qkv,
              logsumexp: tensor(s, Float32Array.from(logsumexp), [tokens, H]),
              dout: tensor(s, dout, [tokens, H * S]),
              dqkv: dqkv.t,
              delta: delta.t,
            };
            const run = (rung: AttentionRung, bind: object, params: object, overrides: object): void => {
              const grid = gridOf(rung, shape, gpu.adapter);
              gpu.run(
                rung.kernel,
                { ...common, ...bind },
                { ...own(shape), ...params },
                { ...grid, overrides: { ...grid.overrides, ...overrides } },
              );
            };
            const context = {
              cache: cache?.rows ?? qkv,
              spans: batch.spans,
              out: tensor(s, Float32Array.from(out), [tokens, H * S]),
            };
            run(q, context, { cache_stride: cacheStride, cache_k: cacheKeys }, change[0]);
            run(kv, { followers: batch.followers }, {}, change[1]);
            // Sums of S products twice over, then of as many as there are tokens; terms up to 4³.
            const bound = { reduce: S, scale: 30 };
            const name = `${q.kernel} ${kv.kernel} ${JSON.stringify(change)}`;
            allclose(name, (await read(gpu, dqkv.t)).subarray(0, dqkv.t.size), want, bound);
            await dqkv.canaries();
            await delta.canaries();
          });
  });

for (const heads of [blocks(2, 3), blocks(4, 3, 2), triples(2, 3)])
  test(`the reference gradient equals its central difference: ${nameOf(heads)}`, () => {
    const { c } = inputs(example(heads, [3, 1, 4], [0, 0, 2]));
    const dout = noise((c.spans.length / 4) * heads.H * heads.S, 3);
    const slope = centralDifference((qkv) => dot(reference.attention({ ...c, qkv }).out, dout), c.qkv);
    allclose('slope', slope, reference.attentionBackward(c, dout), { scale: 10 });
  });

test('the op records its backward', async () => {
  const tape = new Tape();
  await gpu.scope(async (s) => {
    const e = example(blocks(4, 32, 2), [5, 9], [0, 4]);
    const { qkv, batch, cache } = upload(s, e);
    tape.watch(qkv);
    const out = attention(s, qkv, batch, { heads: e.heads, cache });
    const { c } = inputs(e);
    const want = reference.attention(c).out;
    allclose('out', await read(gpu, out), want, { reduce: 32, scale: 6 });
    const dqkv = await read(gpu, tape.backward(s, out, qkv)); // seeded with out itself
    allclose('dqkv', dqkv, reference.attentionBackward(c, want), { reduce: 32, scale: 30 });
  }, tape);
});

test('the rungs follow the tiles, the width and the adapter', () => {
  const shape: AttentionShape = {
    ...{ tokens: 9, heads: blocks(2, 64), cached: true, cacheStride: 8, cacheKeys: 4, tiles: 3, tileSize: 8 },
  };
  const adapter = (kind: 'gpu' | 'software', subgroupSize: number) => ({
    ...gpu.adapter,
    kind,
    subgroupSize,
  });
  const chosen = (change: Partial<AttentionShape>, on = adapter('software', 8)): string =>
    [ATTENTION, ATTENTION_BACKWARD_Q, ATTENTION_BACKWARD_KV]
      .map((ladder) => choose(ladder, { ...shape, ...change }, on).kernel.replace(/^.*?attention/, ''))
      .join(' ');
  const definitions = '_1 _backward_q_1 _backward_kv_1';
  assert.is(chosen({ tileSize: 2 }), '_pairs _backward_q_pairs _backward_kv_1');
  assert.is(chosen({}), '_eights _backward_q_pairs _backward_kv_subgroup');
  assert.is(chosen({}, adapter('software', 4)), '_eights _backward_q_pairs _backward_kv_subgroup');
  assert.is(chosen({}, adapter('software', 0)), definitions);
  assert.is(chosen({ tileSize: 64 }, adapter('gpu', 0)), '_workgroup _backward_q_keys _backward_kv_queries');
  assert.is(chosen({ tileSize: 64, heads: blocks(2, 66) }, adapter('gpu', 0)), definitions);
  const wide = { ...blocks(2, 64), stride: 65 };
  for (const odd of [{ heads: blocks(2, 62) }, { heads: wide }, { cacheStride: 9 }, { cacheKeys: 3 }])
    assert.is(chosen(odd), definitions, JSON.stringify(odd));
  assert.equal(
    [8, 9, 15, 16].map((n) => tileSizeFor(n, adapter('software', 8))),
    [2, 8, 8, 8],
  );
  assert.equal(
    [8, 9, 15, 16].map((n) => tileSizeFor(n, adapter('gpu', 32))),
    [2, 2, 2, 64],
  );
});

test('the op refuses widths and batches that do not fit', async () => {
  await gpu.scope((s) => {
    const { qkv, batch } = upload(s, example(blocks(2, 3), [5]));
    const refused = (t: Tensor, heads: HeadLayout, message: RegExp): void =>
      assert.throws(() => attention(s, t, batch, { heads }), message);
    refused(qkv, blocks(4, 3), /18 columns, expected \(4 heads \+ 2 · 4 .* = 36/);
    refused(qkv, blocks(3, 3, 2), /3 heads of 3 cannot share 2/);
    refused(qkv.slice(0, 3), blocks(2, 3), /3 rows, the batch 5 tokens/);
  });
});

test.run();
