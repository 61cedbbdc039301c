import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attention } from '../src/models/attention.ts';
import { ATTENTION_RUNGS, attentionGrid, chooseAttention } from '../src/models/attention-rungs.ts';
import type { AttentionRung, AttentionShape } from '../src/models/attention-rungs.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import type { Batch, GpuBatch } from '../src/models/batch.ts';
import type { Grid } from '../src/gpu/context.ts';
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
  example(1, 68, [9, 12], [0, 5]),
  example(2, 20, [4, 8, 16], [1, 0, 15]),
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

function shapeOf(e: Example): AttentionShape & { scale: number } & Record<string, number> {
  const scale = 1 / Math.sqrt(e.size);
  return {
    m: e.batch.ids.length,
    heads: e.heads,
    s: e.size,
    cache_stride: e.cache[1],
    cache_k: e.cache[2],
    scale,
  };
}

function upload(
  s: Scope,
  e: Example,
  tileSize?: number,
): { qkv: Tensor; batch: GpuBatch; cache?: { rows: Tensor; stride: number; keys: number } } {
  const { qkv, cache } = inputs(e);
  const [P, stride, keys] = e.cache;
  const made = {
    qkv: tensor(s, qkv, [e.batch.ids.length, 3 * e.heads * e.size]),
    batch: uploadBatch(s, e.batch, tileSize),
  };
  return P > 0 ? { ...made, cache: { rows: tensor(s, cache, [P, stride]), stride, keys } } : made;
}

interface Setting {
  rung: AttentionRung;
  tile: number;
  overrides: Record<string, number>;
}

/** Every rung that this adapter runs and this head width suits, with its settings. */
function settings(e: Example): Setting[] {
  const lanes = gpu.adapter.subgroupSize;
  const { definition, pairs, eights, workgroup } = ATTENTION_RUNGS;
  const list: Setting[] = [32, 64, 256].map((WG) => ({ rung: definition, tile: 2, overrides: { WG } }));
  if (e.size % 4 !== 0) return list;
  // Without a prefix anywhere, PREFIX may have either value.
  const prefixes = lanes < 4 ? [] : e.cache[0] > 0 ? [1] : [0, 1];
  for (const rung of [pairs, eights])
    for (const PREFIX of prefixes) list.push({ rung, tile: rung.tile, overrides: { LANES: lanes, PREFIX } });
  if (e.size > workgroup.widest) return list;
  for (const [WG, KEYS] of [
    [64, 16],
    [32, 31],
    [16, 8],
  ] as const)
    list.push({ rung: workgroup, tile: WG, overrides: { WG, KEYS } });
  return list;
}

for (const e of EXAMPLES)
  test(`forward: ${e.name}`, async () => {
    const want = reference.attention(inputs(e).c);
    for (const { rung, tile, overrides } of settings(e))
      await gpu.scope(async (s) => {
        const { qkv, batch, cache } = upload(s, e, tile);
        const shape = shapeOf(e);
        const { m, heads } = shape;
        const [out, logsumexp] = [wide(s, [m, heads * e.size]), wide(s, [m, heads])];
        const bindings = {
          qkv,
          cache: cache?.rows ?? qkv,
          spans: batch.spans,
          out: out.t,
          logsumexp: logsumexp.t,
        };
        const grid = { ...attentionGrid(rung.subgroups, batch.tiles.rows, shape, gpu.adapter), overrides };
        if (rung.tile === 0) gpu.run(rung.kernel, bindings, shape, { threads: m * heads, overrides });
        else gpu.run(rung.kernel, { ...bindings, tiles: batch.tiles }, shape, grid);
        // A score is a sum of S products of size 3²; its error, magnified by nothing, is the relative error of p.
        const bound = { reduce: e.size, scale: 6 };
        const name = `${rung.kernel} ${JSON.stringify(overrides)}`;
        allclose(name, (await read(gpu, out.t)).subarray(0, out.t.size), want.out, bound);
        allclose(name, (await read(gpu, logsumexp.t)).subarray(0, m * heads), want.logsumexp, bound);
        await out.canaries();
        await logsumexp.canaries();
      });
  });

for (const e of EXAMPLES)
  test(`backward: ${e.name}`, async () => {
    const { c } = inputs(e);
    const forward = reference.attention(c);
    const lanes = gpu.adapter.subgroupSize;
    const shape = shapeOf(e);
    const { m, heads, cache_stride, cache_k, ...rest } = shape;
    const D = heads * e.size;
    const dout = noise(m * D, 7);
    const want = reference.attentionBackward(c, dout);
    const threads = { threads: m * heads };
    const grids = [32, 64, 256].map((WG) => {
      const grid: Grid = { ...threads, overrides: { WG } };
      return { n: 1, q: grid, kv: grid };
    });
    const kv = attentionGrid(true, m, shape, gpu.adapter);
    for (const PREFIX of e.cache[0] > 0 ? [1] : [0, 1])
      if (lanes >= 4 && e.size % 4 === 0)
        grids.push({ n: 2, q: { ...kv, overrides: { ...kv.overrides, PREFIX } }, kv });
    for (const { n, q, kv } of grids)
      await gpu.scope(async (s) => {
        const { qkv, batch, cache } = upload(s, e);
        const [dqkv, delta] = [wide(s, [m, 3 * D]), wide(s, [m, heads])];
        const common = {
          qkv,
          logsumexp: tensor(s, Float32Array.from(forward.logsumexp), [m, heads]),
          dout: tensor(s, dout, [m, D]),
          dqkv: dqkv.t,
          delta: delta.t,
        };
        const out = tensor(s, Float32Array.from(forward.out), [m, D]);
        const queries = { ...common, cache: cache?.rows ?? qkv, spans: batch.spans, out };
        gpu.run(`models/attention_backward_q_${n}`, queries, shape, q);
        const keys = { ...common, followers: batch.followers };
        gpu.run(`models/attention_backward_kv_${n}`, keys, { m, heads, ...rest }, kv);
        // Sums of S products twice over, then of as many as there are tokens; terms up to 4³.
        const bound = { reduce: e.size, scale: 30 };
        allclose(`backward ${n}`, (await read(gpu, dqkv.t)).subarray(0, m * 3 * D), want, bound);
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

test('the rung follows the tiles, the width and the adapter', () => {
  const shape = { m: 1, heads: 1, s: 64, cache_stride: 8, cache_k: 4 };
  const lanes = (subgroupSize: number) => ({ ...gpu.adapter, subgroupSize });
  const chosen = (tile: number, change: object, size = 8): string =>
    chooseAttention(tile, { ...shape, ...change }, lanes(size)).kernel;
  assert.is(chosen(2, {}), 'models/attention_2');
  assert.is(chosen(8, {}), 'models/attention_3');
  assert.is(chosen(64, {}), 'models/attention_4');
  assert.is(chosen(64, { s: 68 }), 'models/attention_1');
  assert.is(chosen(8, {}, 0), 'models/attention_1');
  for (const odd of [{ s: 62 }, { cache_stride: 9 }, { cache_k: 3 }])
    assert.is(chosen(8, odd), 'models/attention_1', JSON.stringify(odd));
});

test('the op refuses widths and batches that do not fit', async () => {
  await gpu.scope((s) => {
    const { qkv, batch } = upload(s, example(2, 3, [5]));
    assert.throws(() => attention(s, qkv, batch, { heads: 4 }), /5 tokens, 3 · 4 heads/);
    assert.throws(() => attention(s, qkv.slice(0, 3), batch, { heads: 2 }), /\[3, 18\]/);
  });
});

test.run();
