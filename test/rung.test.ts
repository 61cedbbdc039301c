import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CHOLESKY } from '../src/edit/cholesky.ts';
import { SECOND_MOMENT } from '../src/edit/second-moment.ts';
import { ShapeError } from '../src/errors.ts';
import type { AdapterSummary } from '../src/gpu/adapter-info.ts';
import { readShader } from '../src/gpu/node.ts';
import { reflect } from '../src/gpu/kernel.ts';
import { choose, gridOf, nameOf } from '../src/gpu/rung.ts';
import type { Rung } from '../src/gpu/rung.ts';
import { COPY } from '../src/lab/bench/rows.ts';
import { ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q } from '../src/models/attention-rungs.ts';
import type { AttentionShape } from '../src/models/attention-rungs.ts';
import { headBlocks } from '../src/models/heads.ts';
import type { HeadLayout } from '../src/models/heads.ts';
import { LAYERNORM, LAYERNORM_BACKWARD, wholeRows } from '../src/models/layernorm.ts';
import { MATMUL } from '../src/tensor/matmul-rungs.ts';
import type { Product } from '../src/tensor/matmul-rungs.ts';

const test = suite('rungs');

/** An adapter whose subgroups have `lanes` lanes, or between two numbers. */
function adapter(kind: 'gpu' | 'software', least: number, most = least): AdapterSummary {
  return {
    ...{
      description: `${kind} ${least}`,
      vendor: '',
      architecture: '',
      backend: 'vulkan',
      features: [],
      kind,
    },
    ...{ subgroupMinSize: least, subgroupMaxSize: most, subgroupSize: least === most ? least : 0 },
  };
}

const ADAPTERS = {
  lavapipe: adapter('software', 8),
  swiftshader: adapter('software', 4),
  plain: adapter('software', 0),
  nvidia: adapter('gpu', 32),
  amd: adapter('gpu', 64),
  intel: adapter('gpu', 8, 32),
  bare: adapter('gpu', 0),
};

const square: Product = {
  ...{ m: 64, n: 768, k: 768, transposeB: false, dtype: 'f32', aStride: 768, aFirst: 0, strips: true },
};

test('the first rung that fits and suits is taken; none is an error that names them', () => {
  const rung = (kernel: string, fits: boolean, suits?: boolean): Rung<null> => ({
    kernel,
    fits: () => fits,
    ...(suits === undefined ? {} : { suits: () => suits }),
    grid: () => ({ groups: 1 }),
  });
  const taken = (...ladder: Rung<null>[]): string => choose(ladder, null, ADAPTERS.bare).kernel;
  assert.is(taken(rung('a', true), rung('b', true)), 'a');
  assert.is(taken(rung('a', false, true), rung('b', true, true)), 'b');
  assert.is(taken(rung('a', true, false), rung('b', true)), 'b');
  assert.throws(
    () => taken(rung('a', false), rung('b', true, false)),
    (e: unknown) => e instanceof ShapeError && /no rung of a, b fits/.test(e.message),
  );
});

test('a grid holds the overrides and the cost beside the groups', () => {
  const [rung] = SECOND_MOMENT;
  assert.equal(gridOf(rung!, { f: 128, n: 2, first: 0, end: 2 }, ADAPTERS.lavapipe, { flops: 3 }), {
    groups: [4, 2],
    overrides: { LANES: 8 },
    cost: { flops: 3 },
  });
});

/** Which product is taken where: on software adapters by shape, storage and strips, on GPUs by rows. */
const PRODUCTS: readonly [keyof typeof ADAPTERS, Partial<Product>, string][] = [
  ['lavapipe', { m: 1, lasting: true }, 'matmul_row'],
  ['lavapipe', { m: 1, lasting: true, transposeB: true }, 'matmul_row_transposed'],
  ['lavapipe', { m: 1 }, 'matmul_strips_8x128'],
  ['lavapipe', { n: 770, lasting: true }, 'matmul_strips_16x96'],
  ['lavapipe', { n: 770 }, 'matmul_registers'],
  ['lavapipe', { n: 770, m: 8 }, 'matmul_1'],
  ['lavapipe', { m: 1, aStride: 3, k: 3 }, 'matmul_1'],
  ['lavapipe', { m: 2 }, 'matmul_strips_8x128'],
  ['lavapipe', { m: 8 }, 'matmul_strips_8x128'],
  ['lavapipe', { m: 9 }, 'matmul_strips_16x96'],
  ['lavapipe', { m: 16, transposeB: true }, 'matmul_strips_16x96'],
  ['lavapipe', { m: 17 }, 'matmul_strips_24x64'],
  ['lavapipe', { m: 24 }, 'matmul_strips_24x64'],
  ['lavapipe', { m: 25 }, 'matmul_strips_16x96'],
  ['lavapipe', { m: 1, strips: false }, 'matmul_buffer_16x128'],
  ['lavapipe', { n: 770, strips: false }, 'matmul_registers'],
  ['lavapipe', { n: 770, transposeB: true, strips: false }, 'matmul_buffer_16x128'],
  ['swiftshader', { m: 1, lasting: true }, 'matmul_row'],
  ['swiftshader', { m: 1, lasting: true, transposeB: true }, 'matmul_row_transposed'],
  ['swiftshader', { m: 8 }, 'matmul_strips_16x64'],
  ['swiftshader', { m: 22 }, 'matmul_strips_16x64'],
  ['swiftshader', { strips: false }, 'matmul_buffer_16x64'],
  ['swiftshader', { strips: false, dtype: 'f16', n: 770 }, 'matmul_registers'],
  ['plain', {}, 'matmul_registers'],
  ['nvidia', {}, 'matmul_registers'],
  ['amd', { m: 9, k: 3, transposeB: true }, 'matmul_registers'],
  ['intel', { m: 8 }, 'matmul_few_rows'],
  ['bare', { m: 1, transposeB: true, dtype: 'f16' }, 'matmul_few_rows'],
  ['bare', { m: 1, k: 1, n: 7, dtype: 'f16', aStride: 4 }, 'matmul_1'],
];

test('matrix products by adapter', () => {
  for (const [name, change, want] of PRODUCTS) {
    const rung = choose(MATMUL, { ...square, ...change }, ADAPTERS[name]);
    assert.is(nameOf(rung).replace(/^.*\//, ''), want, `${name} ${JSON.stringify(change)}`);
  }
});

test('the other families on software adapters', () => {
  const update = { n: 2, q: 1, first: 0, end: 1 };
  const taken = (on: AdapterSummary): string[] => [
    choose(LAYERNORM, wholeRows(1, 768), on).kernel,
    choose(LAYERNORM_BACKWARD, wholeRows(1, 6), on).kernel,
    choose(CHOLESKY, update, on).kernel,
    choose(SECOND_MOMENT, { f: 128, n: 2, first: 0, end: 2 }, on).kernel,
    choose(SECOND_MOMENT, { f: 130, n: 3, first: 0, end: 3 }, on).kernel,
    choose(COPY, { n: 8 }, on).kernel,
  ];
  const both = ['software/layernorm_subgroup', 'models/layernorm_backward_1'];
  const moments = ['software/second_moment_subgroup', 'edit/second_moment_1', 'tensor/copy_quads'];
  assert.equal(taken(ADAPTERS.lavapipe), [...both, 'software/cholesky_update_subgroup', ...moments]);
  assert.equal(taken(ADAPTERS.swiftshader), [...both, 'software/cholesky_update_subgroup', ...moments]);
  assert.equal(taken(ADAPTERS.plain), [
    ...['models/layernorm_1', 'models/layernorm_backward_1', 'edit/cholesky_update'],
    ...['edit/second_moment_1', 'edit/second_moment_1', 'tensor/copy_quads'],
  ]);
});

test('attention and layer normalisation on GPUs: any size of subgroups, or none', () => {
  const shape = { ...attended, cached: false, cacheStride: 0, cacheKeys: 0 };
  for (const on of [ADAPTERS.nvidia, ADAPTERS.amd, ADAPTERS.intel, ADAPTERS.bare]) {
    const of = (change: Partial<AttentionShape>): string =>
      choose(ATTENTION, { ...shape, ...change }, on).kernel;
    assert.is(of({}), 'models/attention_keys');
    assert.is(of({ tileSize: 64 }), 'models/attention_workgroup');
    assert.is(of({ tileSize: 64, heads: twoOf(128) }), 'models/attention_keys');
    assert.is(of({ heads: twoOf(6) }), 'models/attention_1');
    assert.is(choose(ATTENTION_BACKWARD_Q, shape, on).kernel, 'models/attention_backward_q_keys');
    assert.is(choose(ATTENTION_BACKWARD_KV, shape, on).kernel, 'models/attention_backward_kv_queries');
    const { kernel } = choose(LAYERNORM, wholeRows(1, 768), on);
    assert.is(kernel, `models/layernorm_${on.subgroupMaxSize > 0 ? 'workgroup' : '1'}`);
    assert.is(choose(LAYERNORM_BACKWARD, wholeRows(1, 7), on).kernel, 'models/layernorm_backward_1');
  }
});

const twoOf = (S: number): HeadLayout => headBlocks({ H: 2, KV: 2, S });

const attended: AttentionShape = {
  ...{ tokens: 9, heads: twoOf(64), cached: true, cacheStride: 8, cacheKeys: 4, tiles: 3, tileSize: 2 },
};

/** Every ladder with shapes that tell its rungs apart. */
const LADDERS: readonly [readonly Rung<never>[], readonly object[]][] = [
  [MATMUL, PRODUCTS.map(([, change]) => ({ ...square, ...change }))],
  [
    ATTENTION,
    [2, 8, 64].flatMap((tileSize) => [64, 66, 72].map((S) => ({ ...attended, tileSize, heads: twoOf(S) }))),
  ],
  [ATTENTION_BACKWARD_Q, [attended, { ...attended, heads: twoOf(66) }]],
  [ATTENTION_BACKWARD_KV, [attended, { ...attended, tileSize: 8 }, { ...attended, heads: twoOf(66) }]],
  [LAYERNORM, [wholeRows(70_000, 768), wholeRows(1, 7), wholeRows(1, 768, true)]],
  [LAYERNORM_BACKWARD, [wholeRows(70_000, 768), wholeRows(1, 7), wholeRows(1, 768, true)]],
  [CHOLESKY, [{ n: 2, q: 1, first: 0, end: 1 }]],
  [
    SECOND_MOMENT,
    [
      { f: 128, n: 2 },
      { f: 3, n: 1 },
    ],
  ],
  [COPY, [{ n: 8 }, { n: 7 }]],
];

test('every ladder ends with its definition; a GPU never takes a rung of software adapters', () => {
  for (const [ladder, shapes] of LADDERS) {
    // Of a factor the definition stands in solve_1.
    if (ladder !== CHOLESKY) assert.match(ladder.at(-1)!.kernel, /_1$/);
    assert.is(new Set(ladder.map(nameOf)).size, ladder.length, 'two rungs of one name');
    for (const shape of shapes as never[])
      for (const on of Object.values(ADAPTERS)) {
        assert.ok(ladder.at(-1)!.fits(shape, on), 'the definition fits everything');
        const { kernel } = choose(ladder, shape, on);
        if (on.kind === 'gpu') assert.not.match(kernel, /^software\//);
      }
  }
});

test('a rung asks for subgroups only where an adapter has them, and for overrides that its shader has', () => {
  for (const [ladder, shapes] of LADDERS)
    for (const rung of ladder) {
      const { features, overrides } = reflect(rung.kernel, readShader(rung.kernel));
      for (const shape of shapes as never[])
        for (const on of Object.values(ADAPTERS)) {
          if (!rung.fits(shape, on)) continue;
          assert.ok(!features.includes('subgroups') || on.subgroupMaxSize > 0, rung.kernel);
          for (const name of Object.keys(gridOf(rung, shape, on).overrides ?? {}))
            assert.ok(overrides.has(name), `${rung.kernel} has no ${name}`);
        }
    }
});

test.run();
