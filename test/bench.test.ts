/** What the benchmarks rest on: checks that notice wrong results, medians, A/B of shaders, sums of traces, curves. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from 'vega-lite';
import { UsageError } from '../src/errors.ts';
import { openGpu, readShader } from '../src/gpu/node.ts';
import {
  FAMILIES,
  checkShader,
  comparePair,
  findKernel,
  pairCases,
  standsInFor,
} from '../src/lab/bench/compare.ts';
import { BENCH_CONTEXTS, contextsOfLength, scalingFigure } from '../src/lab/bench/edit.ts';
import { casesOf, parseShape, prepared, worstOf } from '../src/lab/bench/family.ts';
import type { BenchCase } from '../src/lab/bench/family.ts';
import { matmulFamily } from '../src/lab/bench/matmul.ts';
import { measure, measureAll, timingOf } from '../src/lab/bench/measure.ts';
import { copyFamily } from '../src/lab/bench/rows.ts';
import { median } from '../src/statistics.ts';
import { kernelTime, profileOf } from '../src/lab/profile.ts';
import { MATMUL } from '../src/tensor/matmul-rungs.ts';
import { upload } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu, noise, withoutLeaks } from './gpu.ts';
import { factsTokenizer } from './tokenizers.ts';

const test = withoutLeaks(suite('bench'));

test('median, and median distance from it', () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  assert.equal(timingOf([10, 12, 11, 100, 9]), { median: 11, mad: 1, least: 9, samples: 5 });
});

test('a check passes what rounding explains, and no more, and says where and how far', async () => {
  const want = noise(1000, 1);
  const ratio = async (change: (x: number, i: number) => number): Promise<number> =>
    gpu.scope(async (s) => {
      const y = upload(s, want.map(change), [1000], 'y');
      const check = prepared(
        s,
        () => y,
        (i) => want[i]!,
        { reduce: 4, scale: 0 },
      ).check;
      return (await check()).ratio;
    });
  assert.is(await ratio((x) => x), 0);
  assert.ok((await ratio((x) => x * (1 + 2 ** -23))) < 1);
  assert.ok((await ratio((x) => x * (1 + 2 ** -18))) > 1);
  assert.ok((await ratio((x, i) => (i === 999 ? x + 1 : x))) > 1, 'the last element is looked at');
  assert.is(await ratio((x, i) => (i === 0 ? NaN : x)), Infinity);
  const found = worstOf([1, 2, 3.5, 4], (i) => i + 1, { reduce: 1, scale: 1 });
  assert.equal([found.index, found.got, found.want], [2, 3.5, 3]);
  assert.ok(Math.abs(found.ratio - 0.5 / found.bound) < 1e-9 && found.bound === 4 * 2 ** -23 * 4);
});

for (const family of FAMILIES) {
  test(`${family.name}: results of the smallest case of every kernel, in every layout`, async () => {
    const smallest = new Map<string, BenchCase>();
    for (const c of casesOf(family, gpu)) {
      const key = `${c.name} ${/[^\d,]*$/.exec(c.shape)?.[0]}`;
      const other = smallest.get(key);
      if (c.flops < 4e8 && c.bytes < 4e7 && c.flops <= (other?.flops ?? Infinity)) smallest.set(key, c);
    }
    for (const c of smallest.values()) {
      const { ratio } = await gpu.scope(async (s) => (await c.prepare(s)).check());
      assert.ok(ratio <= 1, `${c.name} ${c.shape}: ${ratio} times its bound`);
    }
  });

  test(`${family.name}: takes shapes of its own form, and no others`, () => {
    const [first] = family.shapes;
    assert.equal(parseShape(family, first!.join(',')), first);
    assert.equal(
      casesOf(family, gpu, first).map(({ name }) => name),
      family.cases(gpu, first!).map(({ name }) => name),
    );
    for (const bad of [[...first!, 64].join(','), 'x', '-64', first!.map((n) => n + 0.5).join(',')])
      assert.throws(
        () => parseShape(family, bad),
        (e: unknown) => e instanceof UsageError && e.message.includes(family.sizes.join(',')),
      );
  });
}

test('a shape that the family cannot take is refused with what it expects', () => {
  const cholesky = FAMILIES.find(({ name }) => name === 'cholesky')!;
  assert.throws(() => parseShape(cholesky, '100'), /a multiple of 64.*found "100"/);
  assert.throws(() => parseShape(matmulFamily, '0,4,4'), /numbers above 0/);
  assert.is(casesOf(matmulFamily, gpu, [3, 5, 7])[0]?.shape, '3,5,7');
});

const copies = (): BenchCase[] => casesOf(copyFamily, gpu, [1]);

test('a case is timed; one with wrong results is not', async () => {
  const c = copies()[0]!;
  const found = await measure(gpu, c, { ms: 5 });
  assert.ok(found.wall!.samples >= 3 && found.wall!.median > 0);
  if (gpu.timer.available)
    assert.ok(found.timestamps!.median > 0 && found.timestamps!.least <= found.wall!.median);
  const off = { ratio: 1.5, index: 3, got: 1, want: 2, bound: 0.5 };
  const wrong: BenchCase = {
    ...c,
    prepare: async (s) => ({ ...(await c.prepare(s)), check: async () => off }),
  };
  const { wall, timestamps, deviation: said } = await measure(gpu, wrong);
  assert.equal([wall, timestamps, said], [undefined, undefined, off]);
});

test('a budget holds: cases that do not fit are passed over', async () => {
  const slow = (name: string): BenchCase => ({
    ...{ name, shape: '', kernels: [], flops: 1, bytes: 1 },
    prepare: () => ({
      run: () => new Promise((done) => setTimeout(done, 50)),
      check: async () => ({ ratio: 0, index: 0, got: 0, want: 0, bound: 0 }),
    }),
  });
  const cases = ['a', 'b', 'b', 'b', 'b', 'b', 'b', 'b'].map(slow);
  const start = performance.now();
  let [done, passed] = [0, 0];
  for await (const found of measureAll(gpu, cases, { end: performance.now() + 300 }))
    found ? (done += 1) : (passed += 1);
  assert.ok(performance.now() - start < 600, `${performance.now() - start} ms`);
  assert.ok(done >= 2 && passed >= 2 && done + passed === 8, `${done} done, ${passed} passed over`);
});

const COPIES = ['tensor/copy_1', 'tensor/copy_quads'];

test('a shader stands in for the kernel whose interface it has', () => {
  const kernels = new Map([...COPIES, 'tensor/gelu', 'tensor/add'].map((name) => [name, readShader(name)]));
  assert.is(standsInFor('mine.wgsl', readShader('tensor/add'), kernels), 'tensor/add', 'the only one');
  const copy = readShader('tensor/copy_quads');
  assert.is(standsInFor('/tmp/copy_quadsb.wgsl', copy, kernels), 'tensor/copy_quads', 'called like it');
  const nameless = (): string => standsInFor('mine.wgsl', readShader('tensor/copy_1'), kernels);
  assert.throws(nameless, (e: unknown) => e instanceof UsageError && /copy_1, .*--as/.test(e.message));
  const other = readShader('models/nll');
  assert.throws(() => standsInFor('mine.wgsl', other, kernels), /mine.wgsl has those of none/);
});

test('rungs of a family are found by name, and compared where both compute', () => {
  assert.is(findKernel('copy_1', COPIES), 'tensor/copy_1');
  assert.is(findKernel('tensor/copy_quads', COPIES), 'tensor/copy_quads');
  assert.throws(
    () => findKernel('copy_3', COPIES),
    (e: unknown) => e instanceof UsageError && /copy_1, copy_quads.*"copy_3"/.test(e.message),
  );
  const sides = (a: string, b: string) => [a, b].map((kernel) => ({ label: kernel, kernel })) as never;
  const pairs = pairCases(gpu, FAMILIES, sides('tensor/matmul_registers', 'tensor/matmul_1'), [9, 5, 7]);
  // Bindings differ: one reads b in quads, the other in words.
  assert.equal(
    pairs.map(([a, b]) => [a.name, b.name, a.shape, b.shape]),
    ['9,5,7', '9,5,7 ᵀ', '9,5,7 f16', '9,5,7 ᵀ f16'].map((at) => ['matmul_registers', 'matmul_1', at, at]),
  );
  assert.equal(pairCases(gpu, FAMILIES, sides('tensor/copy_1', 'tensor/gelu')), []);
});

test('in turns: as many pairs as asked for, ratios around 1 for one and the same shader', async () => {
  const c = copies()[0]!;
  const kernel = 'tensor/copy_quads';
  const { times } = await comparePair([gpu, gpu], [c, c], [kernel, kernel], { pairs: 4 });
  assert.is(times!.ratio.samples, 4);
  assert.ok(times!.ratio.median > 0.1 && times!.ratio.median < 10);
  const late = await comparePair([gpu, gpu], [c, c], [kernel, kernel], { end: 0 });
  assert.is(late.times!.ratio.samples, 1, 'no more pairs once the time is over');
});

test('a shader that does not compile is refused with file, line, column and message', async () => {
  await checkShader(gpu, 'good.wgsl', readShader('tensor/copy_1'));
  const bad = readShader('tensor/copy_1').replace('y[i] = x[i]', 'y[i] = z[i]');
  const line = bad.split('\n').findIndex((text) => text.includes('z[i]')) + 1;
  const place = new RegExp(`^bad\\.wgsl:${line}:\\d+: .*z`);
  const error = await throws(() => checkShader(gpu, 'bad.wgsl', bad), UsageError, place);
  assert.is((error as UsageError).exitCode, 2);
});

test('a kernel of ours that does not compile says so with file, line and column', async () => {
  const broken = await openGpu(gpu.adapter.description, {
    shader: (name) => readShader(name).replace('y[i] = x[i]', 'y[i] = z[i]'),
  });
  const run = () =>
    broken.scope(async (s) => {
      const x = upload(s, noise(8, 1), [8], 'x');
      broken.run('tensor/copy_1', { x, y: upload(s, noise(8, 2), [8], 'y') }, { n: 8 }, { threads: 8 });
      await broken.sync();
    });
  await throws(run, Error, /^shaders\/tensor\/copy_1\.wgsl:\d+:\d+ error: .*z/);
  broken.destroy();
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
