import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { narrow, widen } from '../src/floats.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { embed } from '../src/models/embed.ts';
import type { Scope } from '../src/gpu/scope.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';

const test = suite('embed');

type Stored = 'f32' | 'f16' | 'bf16';

/** A table on the device as it is stored, and the numbers that it holds. */
function table(
  s: Scope,
  rows: number,
  d: number,
  seed: number,
  stored: Stored,
): { t: Tensor; values: Float32Array } {
  const exact = noise(rows * d, seed);
  if (stored === 'f32') return { t: tensor(s, exact, [rows, d]), values: exact };
  const dtype = stored === 'f16' ? 'F16' : 'BF16';
  const halves = narrow(dtype, exact);
  const pairs = new Uint32Array(Math.ceil(exact.length / 2));
  new Uint8Array(pairs.buffer).set(halves);
  const { block } = tensor(s, pairs, [pairs.length]);
  return { t: new Tensor(block, [rows, d], stored), values: widen(dtype, halves) };
}

/** float32 sums of two numbers are correctly rounded: no tolerance. */
function expected(
  wte: Float32Array,
  wpe: Float32Array | undefined,
  d: number,
  ids: ArrayLike<number>,
  positions: ArrayLike<number>,
): Float32Array {
  return Float32Array.from({ length: ids.length * d }, (_, i) => {
    const t = Math.floor(i / d);
    return wte[ids[t]! * d + (i % d)]! + (wpe ? wpe[positions[t]! * d + (i % d)]! : 0);
  });
}

for (const [tokens, positions] of [
  ['f32', 'f32'],
  ['f16', 'f16'],
  ['bf16', 'bf16'],
  ['f32', 'f16'],
  ['f16', 'f32'],
  ['bf16', undefined],
  ['f32', undefined],
] as const)
  test(`tokens in ${tokens}, positions in ${positions ?? 'no table'}`, async () => {
    for (const d of [1, 3, 64, 257])
      await gpu.scope(async (s) => {
        const wte = table(s, 11, d, d, tokens);
        const wpe = positions && table(s, 7, d, d + 1, positions);
        const batch = packRows([[10, 0, 10, 3], [], [5, 9, 1, 1, 2, 3, 4]], { from: [1, 0, 0] });
        const y = embed(s, wte.t, wpe?.t, uploadBatch(s, batch));
        assert.equal(y.shape, [10, d]);
        assert.equal(await read(gpu, y), expected(wte.values, wpe?.values, d, batch.ids, batch.positions));
      });
  });

test('windows of the table write their own tokens and nothing else', async () => {
  for (const WG of [32, 64, 256])
    await gpu.scope(async (s) => {
      const [V, d] = [10, 64]; // 256 bytes a row: any row is a legal offset
      const wte = table(s, V, d, 1, 'f32');
      const wpe = table(s, 5, d, 2, 'f32');
      const batch = packRows([[9, 4, 0, 5, 3]]);
      const { ids, positions } = uploadBatch(s, batch);
      const y = wide(s, [5, d]);
      for (const [from, to] of [
        [0, 4],
        [4, 5],
        [5, 10],
      ] as const) {
        const bindings = { ids, positions, wte: wte.t.slice(from, to), wpe: wpe.t, y: y.t };
        gpu.run(
          'models/embed',
          bindings,
          { tokens: 5, d, first_row: from, rows: to - from },
          { threads: 5 * d, overrides: { WG } },
        );
      }
      const got = (await read(gpu, y.t)).subarray(0, 5 * d);
      assert.equal(got, expected(wte.values, wpe.values, d, batch.ids, batch.positions));
      await y.canaries();
    });
});

test('tables of different widths are refused', async () => {
  await gpu.scope((s) => {
    const batch = uploadBatch(s, packRows([[0]]));
    const [three, four] = [tensor(s, noise(3, 1), [1, 3]), tensor(s, noise(4, 1), [1, 4])];
    assert.throws(() => embed(s, three, four, batch), /3 columns and wpe 4/);
  });
});

test.run();
