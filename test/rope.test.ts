import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { headBlocks, headTriples, qkvWidth } from '../src/models/heads.ts';
import type { HeadLayout } from '../src/models/heads.ts';
import { rope, ropeFrequencies, ropeTable } from '../src/models/rope.ts';
import { Tape } from '../src/tensor/tape.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/rope.ts';

const test = suite('rope');

/** Heads, and how many components of each turn: all, or the first ones. */
const LAYOUTS: readonly [string, HeadLayout, number, boolean][] = [
  ['GPT-J', headBlocks({ H: 2, KV: 2, S: 16 }), 8, true],
  ['GPT-NeoX', headTriples({ H: 3, S: 8 }), 2, false],
  ['Llama', headBlocks({ H: 6, KV: 2, S: 10 }), 10, false],
  ['one head of two', headBlocks({ H: 1, KV: 1, S: 2 }), 2, true],
];

/** Positions as packed rows have them, with tokens in a cache before two of the rows. */
const POSITIONS = [0, 1, 2, 700, 701, 0, 39];
const batch = packRows(
  [3, 702, 1, 40].map((length) => Array<number>(length).fill(0)),
  { from: [0, 700, 0, 39] },
);

for (const [name, heads, dimensions, interleaved] of LAYOUTS) {
  const frequencies = ropeFrequencies({ dimensions, theta: 10_000, scaling: undefined });
  const table = ropeTable(frequencies, 702);
  const width = qkvWidth(heads);
  const T = POSITIONS.length;
  const want = (x: ArrayLike<number>, sign: 1 | -1 = 1): Float64Array =>
    reference.rope(x, POSITIONS, [...frequencies], heads, { interleaved, sign });

  test(`${name}: q and k turn, all else stays, backward turns back`, async () => {
    const tape = new Tape();
    await gpu.scope(async (s) => {
      const qkv = noise(T * width, dimensions);
      const x = tensor(s, qkv, [T, width]);
      tape.watch(x);
      const { positions } = uploadBatch(s, batch);
      const turns = { positions, table: tensor(s, table, [702, dimensions / 2, 2]) };
      const y = rope(s, x, turns, heads, interleaved ? 'interleaved' : 'halves');
      // Two products of numbers below 4, cosines rounded once.
      allclose('forward', await read(gpu, y), want(qkv), { reduce: 2, scale: 4 });
      assert.equal(await read(gpu, x), qkv, 'the input stays');
      const dqkv = await read(gpu, tape.backward(s, y, x)); // seeded with y itself: turned back it is qkv
      allclose('backward', dqkv, want(want(qkv), -1), { reduce: 4, scale: 4 });
    }, tape);
  });

  test(`${name}: the reference's gradient, a turn back, equals the central difference`, () => {
    const [x, dy] = [noise(T * width, 3), noise(T * width, 4)];
    const slope = centralDifference((at) => dot(want(at), dy), x);
    allclose('slope', Float32Array.from(slope), want(dy, -1), { scale: 10 });
  });

  test(`${name}: every workgroup stays inside the output`, async () => {
    for (const WG of [32, 64, 256])
      await gpu.scope(async (s) => {
        const qkv = noise(T * width, dimensions);
        const y = wide(s, [T, width]);
        gpu.write(y.t, qkv);
        const { H, KV, stride: head, q, k } = heads;
        const sizes = { tokens: T, queries: H, all: H + KV, pairs: dimensions / 2 };
        const { positions } = uploadBatch(s, batch);
        // The table ends before the last token of the second row: that one stays as it is.
        const bindings = { positions, table: tensor(s, table, [702, dimensions]), qkv: y.t };
        gpu.run(
          'models/rope',
          bindings,
          { ...sizes, ...{ row: width, head, q, k }, positions: 701 },
          {
            threads: T * (H + KV) * (dimensions / 2),
            overrides: { WG, INTERLEAVED: interleaved ? 1 : 0 },
          },
        );
        const wanted = want(qkv);
        wanted.set(qkv.subarray(4 * width, 5 * width), 4 * width);
        allclose(`WG ${WG}`, (await read(gpu, y.t)).subarray(0, T * width), wanted, { reduce: 2, scale: 4 });
        await y.canaries();
      });
  });
}

test('frequencies: linear and Llama 3 scaling', () => {
  const plain = ropeFrequencies({ dimensions: 8, theta: 500_000, scaling: undefined });
  allclose('plain', plain, [1, 500_000 ** -0.25, 500_000 ** -0.5, 500_000 ** -0.75]);
  const linear = ropeFrequencies({ dimensions: 8, theta: 500_000, scaling: { type: 'linear', factor: 4 } });
  assert.equal(
    [...linear],
    [...plain].map((f) => f / 4),
  );
  // Wavelengths 6.3, 167, 4443, 118,143: below 8192/4 they stay, above 8192/1 they are divided, between they blend.
  const factors = { factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4 };
  const scaling = { type: 'llama3', ...factors, originalContext: 8192 } as const;
  const llama = [...ropeFrequencies({ dimensions: 8, theta: 500_000, scaling })];
  const part = (8192 / ((2 * Math.PI) / plain[2]!) - 1) / 3;
  allclose('llama3', llama, [plain[0]!, plain[1]!, plain[2]! * ((1 - part) / 8 + part), plain[3]! / 8]);
  assert.ok(part > 0 && part < 1);
});

test('a table holds cosines and sines of float64 angles, rounded once', () => {
  const frequencies = ropeFrequencies({ dimensions: 4, theta: 10_000, scaling: undefined });
  const table = ropeTable(frequencies, 100_001);
  const angle = 100_000 * frequencies[1]!;
  assert.equal([...table.slice(-2)], [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))]);
  assert.equal([...table.slice(0, 4)], [1, 0, 1, 0]);
});

test('the op refuses a table wider than a head, and other positions', async () => {
  await gpu.scope((s) => {
    const qkv = tensor(s, noise(24, 1), [2, 12]);
    const heads = headBlocks({ H: 1, KV: 1, S: 4 });
    const [positions, table] = [tensor(s, Uint32Array.of(0, 1), [2]), tensor(s, noise(12, 2), [2, 6])];
    assert.throws(() => rope(s, qkv, { positions, table }, heads, 'halves'), /6 components .* heads of 4/);
    const four = tensor(s, noise(8, 2), [2, 4]);
    const one = tensor(s, Uint32Array.of(0), [1]);
    assert.throws(() => rope(s, qkv, { positions: one, table: four }, heads, 'halves'), /1 positions for 2/);
    assert.throws(() => rope(s, qkv, { positions, table: four }, { ...heads, H: 2 }, 'halves'), /expected/);
  });
});

test.run();
