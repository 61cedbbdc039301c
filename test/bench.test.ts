/** What the benchmarks rest on: checks that notice wrong results, medians, A/B of shaders, sums of traces, curves. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from 'vega-lite';
import { UsageError } from '../src/errors.ts';
import { readShader } from '../src/gpu/node.ts';
import type { BenchCase } from '../src/lab/bench/case.ts';
import { worstError } from '../src/lab/bench/check.ts';
import { comparePair, standsInFor } from '../src/lab/bench/compare.ts';
import { FAMILIES } from '../src/lab/bench/families.ts';
import { measure } from '../src/lab/bench/measure.ts';
import { scalingFigure } from '../src/lab/bench/scaling-figure.ts';
import { timingOf } from '../src/lab/bench/statistics.ts';
import { median } from '../src/statistics.ts';
import { BENCH_CONTEXTS, contextsOfLength } from '../src/lab/bench/workload.ts';
import { kernelTime, profileOf } from '../src/lab/profile.ts';
import { MATMUL } from '../src/tensor/matmul-rungs.ts';
import { upload } from '../src/tensor/tensor.ts';
import { gpu, noise } from './gpu.ts';
import { factsTokenizer } from './tokenizers.ts';

const test = suite('bench');
let live = 0;
test.before.each(() => void (live = gpu.liveBytes));
test.after.each(() => assert.is(gpu.liveBytes, live, 'memory stays behind'));

test('median, and median distance from it', () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  assert.equal(timingOf([10, 12, 11, 100, 9]), { median: 11, mad: 1, least: 9, samples: 5 });
});

test('a check passes what rounding explains, and no more', async () => {
  const want = noise(1000, 1);
  const error = (change: (x: number, i: number) => number): Promise<number> =>
    gpu.scope((s) =>
      worstError(gpu, upload(s, want.map(change), [1000], 'y'), (i) => want[i]!, { reduce: 4, scale: 0 }),
    );
  assert.is(await error((x) => x), 0);
  assert.ok((await error((x) => x * (1 + 2 ** -23))) < 1);
  assert.ok((await error((x) => x * (1 + 2 ** -18))) > 1);
  assert.ok((await error((x, i) => (i === 999 ? x + 1 : x))) > 1, 'the last element is looked at');
  assert.is(await error((x, i) => (i === 0 ? NaN : x)), Infinity);
});

for (const family of FAMILIES) {
  test(`${family.name}: results of the smallest case of every kernel, in every layout`, async () => {
    const smallest = new Map<string, BenchCase>();
    for (const c of family.cases(gpu)) {
      const key = `${c.name} ${/[^\d,]*$/.exec(c.shape)?.[0]}`;
      const other = smallest.get(key);
      if (c.flops < 4e8 && c.bytes < 4e7 && c.flops <= (other?.flops ?? Infinity)) smallest.set(key, c);
    }
    for (const c of smallest.values()) {
      const error = await gpu.scope(async (s) => (await c.prepare(s)).check());
      assert.ok(error <= 1, `${c.name} ${c.shape}: ${error} times its bound`);
    }
  });
}

const copies = (): BenchCase[] => FAMILIES.find(({ name }) => name === 'copy')!.cases(gpu) as BenchCase[];

test('a case is timed; one with wrong results is not', async () => {
  const c = copies().find(({ name, shape }) => name === 'copy_quads' && shape === '1 MiB')!;
  const found = await measure(gpu, c, { budget: 5 });
  assert.ok(found.wall!.samples >= 3 && found.wall!.median > 0);
  if (gpu.timer.available)
    assert.ok(found.timestamps!.median > 0 && found.timestamps!.least <= found.wall!.median);
  const wrong: BenchCase = {
    ...c,
    prepare: async (s) => ({ ...(await c.prepare(s)), check: async () => 1.5 }),
  };
  const { wall, timestamps, error } = await measure(gpu, wrong);
  assert.equal([wall, timestamps, error], [undefined, undefined, 1.5]);
});

test('two shaders stand in for the kernel whose interface they have', () => {
  const names = ['tensor/copy_1', 'tensor/copy_quads', 'tensor/gelu', 'tensor/add'];
  const kernels = new Map(names.map((name) => [name, readShader(name)]));
  const variant = (name: string, file: string): { name: string; text: string } => ({
    name,
    text: readShader(file),
  });
  const [add, copy] = [
    variant('mine.wgsl', 'tensor/add'),
    variant('/tmp/copy_quadsb.wgsl', 'tensor/copy_quads'),
  ];
  assert.is(standsInFor([add, add], kernels), 'tensor/add', 'the only one');
  assert.is(standsInFor([copy, copy], kernels), 'tensor/copy_quads', 'called like it');
  const nameless = variant('mine.wgsl', 'tensor/copy_1');
  const asks = (e: unknown): boolean =>
    e instanceof UsageError && /copy_1, tensor\/copy_quads.*--as/.test(e.message);
  assert.throws(() => standsInFor([nameless, nameless], kernels), asks);
  assert.is(standsInFor([nameless, nameless], kernels, 'tensor/copy_1'), 'tensor/copy_1');
  const refused = (e: unknown): boolean => e instanceof UsageError;
  assert.throws(() => standsInFor([nameless, nameless], kernels, 'tensor/add'), refused);
  assert.throws(() => standsInFor([add, copy], kernels), refused);
});

test('in turns: as many pairs as asked for, ratios around 1 for one and the same shader', async () => {
  const c = copies().find(({ name, shape }) => name === 'copy_quads' && shape === '1 MiB')!;
  const found = await comparePair([gpu, gpu], c, 'tensor/copy_quads', { pairs: 4 });
  assert.ok('ratio' in found);
  if ('ratio' in found) {
    assert.is(found.ratio.samples, 4);
    assert.ok(found.ratio.median > 0.1 && found.ratio.median < 10);
  }
});

test('a trace is summed by kernel and shape, longest first', () => {
  const kernel = MATMUL[0]!.kernel;
  const rows = profileOf([
    { kernel: 'tensor/gelu', shape: '', ms: 1, flops: 10, bytes: 8 },
    { kernel, shape: '1,2,3', ms: 2, flops: 6e6, bytes: 4 },
    { kernel, shape: '1,2,4', ms: 1.5, flops: 1e6, bytes: 4 },
    { kernel, shape: '1,2,3', ms: 2, flops: 6e6, bytes: 4 },
  ]);
  assert.equal(rows[0], { kernel, shape: '1,2,3', count: 2, ms: 4, flops: 12e6, bytes: 8 });
  assert.equal(
    rows.map(({ ms }) => ms),
    [4, 1.5, 1],
  );
  const time = kernelTime(rows);
  assert.is(time.ms, 6.5);
  assert.is(time.matmulMs, 5.5);
  assert.ok(Math.abs(time.matmulRate / (13e6 / 5.5e-3) - 1) < 1e-12);
});

test('the contexts of the benchmark are as long as sampled ones', () => {
  const tokenizer = factsTokenizer();
  const lengths = BENCH_CONTEXTS.map((text) => tokenizer.encode(text.replace(/\. \{\}$/, '')).length);
  assert.is(lengths.length, 21);
  assert.ok(
    lengths.slice(1, 11).every((n) => n >= 4 && n <= 5),
    lengths.join(),
  );
  assert.ok(
    lengths.slice(11).every((n) => n >= 9 && n <= 10),
    lengths.join(),
  );
  for (const tokens of [4, 16, 64]) {
    const [bare, first = ''] = contextsOfLength(tokens, 3);
    assert.is(bare, '{}');
    assert.is(tokenizer.encode(first.replace(/\. \{\}$/, '')).length, tokens);
  }
});

test('the curves compile, every point in them', () => {
  const sizes = [
    { size: 'small', parameters: 124e6, seconds: 5 },
    { size: 'xl', parameters: 1558e6, seconds: 90 },
  ];
  const { spec } = compile(scalingFigure('title', sizes, [{ size: 'small', tokens: 4, seconds: 5 }]));
  const text = JSON.stringify(spec);
  for (const word of ['seconds of an edit', 'tokens of a context', '124000000', '1558000000'])
    assert.ok(text.includes(word), word);
});

test.run();
