/** How far a weight has moved: the norm of a difference, f32 and f16, in one window and in several. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/errors.ts';
import { frobenius, frobeniusDifference } from '../src/edit/frobenius.ts';
import { narrow as narrow16, widen } from '../src/floats.ts';
import { narrow } from '../src/tensor/elementwise.ts';
import { Tensor, empty } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';

const test = suite('sequence-norm');

/** Of the definition, in float64. */
function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0));
}

for (const [rows, cols] of [
  [1, 2],
  [63, 64],
  [65, 64],
  [300, 258],
] as const)
  test(`|a − b| of [${rows}, ${cols}]`, async () => {
    await gpu.scope(async (s) => {
      const [x, y] = [noise(rows * cols, 1, 100, 3), noise(rows * cols, 2, 100, 3)];
      const [a, b] = [tensor(s, x, [rows, cols]), tensor(s, y, [rows, cols])];
      // A stretch is 4,096 terms; the rest is float64.
      allclose('f32', [await frobeniusDifference(gpu, a, b)], [distance(x, y)], { reduce: 4096 });
      assert.is(await frobeniusDifference(gpu, a, a), 0);
      const [ha, hb] = [narrow(s, a), narrow(s, b)];
      const want = await frobeniusDifference(gpu, ha, hb);
      // Halves near 100 are multiples of 1/16.
      const round = (z: Float32Array): Float32Array => z.map((v) => Math.round(v * 16) / 16);
      allclose('f16', [want], [distance(round(x), round(y))], { reduce: 4096 });
      assert.is((await frobenius(gpu, ha)) > 0, true);
      const [ba, bb] = [x, y].map((z) => narrow16('BF16', z).slice()) as [Uint8Array, Uint8Array];
      const stored = (bytes: Uint8Array): Tensor => {
        const words = tensor(s, new Uint32Array(bytes.buffer as ArrayBuffer), [bytes.length / 4]);
        return new Tensor(words.block, [rows, cols], 'bf16');
      };
      const moved = await frobeniusDifference(gpu, stored(ba), stored(bb));
      allclose('bf16', [moved], [distance(widen('BF16', ba), widen('BF16', bb))], { reduce: 4096 });
    });
  });

for (const WG of [32, 128])
  test(`stretches of workgroups of ${WG}: each sums its own, and none writes past the end`, async () => {
    await gpu.scope(async (s) => {
      const [n, EACH] = [1000, 4];
      const [x, y] = [noise(n, 3), noise(n, 4)];
      const count = Math.ceil(n / (WG * EACH));
      const parts = wide(s, [count]);
      gpu.run(
        'edit/sum_squares',
        { a: tensor(s, x, [n]), b: tensor(s, y, [n]), parts: parts.t },
        { n },
        { groups: count + 1, overrides: { WG, EACH, DIFFERENCE: 1 } },
      );
      const want = Array.from({ length: count }, (_, g) => {
        const [from, to] = [g * WG * EACH, Math.min(n, (g + 1) * WG * EACH)];
        return distance(x.subarray(from, to), y.subarray(from, to)) ** 2;
      });
      allclose('parts', (await read(gpu, parts.t)).slice(0, count), want, { reduce: WG * EACH });
      await parts.canaries();
    });
  });

test('tensors that differ in shape or type are refused', async () => {
  await gpu.scope(async (s) => {
    const a = empty(s, [2, 4], 'a');
    await throws(() => frobeniusDifference(gpu, a, empty(s, [4, 2], 'b')), ShapeError, '[2, 4]', '[4, 2]');
    await throws(() => frobeniusDifference(gpu, a, empty(s, [2, 4], 'b', 'f16')), ShapeError, 'f16');
  });
});

test.run();
