import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { symmetricProduct, symmetricProducts } from '../src/edit/product.ts';
import { read, zeros } from '../src/tensor/tensor.ts';
import { gpu, noise, tensor, wide } from './gpu.ts';
import { uploadSymmetric } from './symmetric.ts';

const test = suite('two-float');

/** high + low after the parts have been accumulated, in float64. */
async function accumulated(
  parts: Float32Array<ArrayBuffer>[],
): Promise<{ high: Float32Array; low: Float32Array }> {
  const length = parts[0]!.length;
  return gpu.scope(async (s) => {
    const [high, low] = [zeros(s, [length], 'high'), zeros(s, [length], 'low')];
    for (const part of parts) {
      const tile = tensor(s, part, [length]);
      gpu.run(
        'edit/accumulate_two_float',
        { tile, high, low },
        { n: length / 4, zero: 0 },
        { threads: length / 4 },
      );
      assert.ok(
        (await read(gpu, tile)).every((x) => x === 0),
        'the tile is emptied',
      );
    }
    return { high: await read(gpu, high), low: await read(gpu, low) };
  });
}

test('the error term is not optimised away', async () => {
  // 2^24 + 1 is the first integer that f32 cannot hold: the 1 must be in `low`.
  const { high, low } = await accumulated([
    Float32Array.from([2 ** 24, 1, -(2 ** 24), 2 ** 24]),
    Float32Array.from([1, 2 ** 24, -1, 2 ** -20]),
  ]);
  assert.equal([...high], [2 ** 24, 2 ** 24, -(2 ** 24), 2 ** 24]);
  assert.equal([...low], [1, 1, -1, 2 ** -20]);
});

test('both kernels write whole quads up to n and nothing behind', async () => {
  await gpu.scope(async (s) => {
    const n = 65;
    const [tile, high, low, y] = [wide(s, [4 * n]), wide(s, [4 * n]), wide(s, [4 * n]), wide(s, [4 * n])];
    gpu.run(
      'edit/accumulate_two_float',
      { tile: tile.t, high: high.t, low: low.t },
      { n, zero: 0 },
      { threads: n },
    );
    const factors = { factor: 2, factor_low: 0 };
    gpu.run('edit/scale_two_float', { high: high.t, low: low.t, y: y.t }, { n, ...factors }, { threads: n });
    for (const { canaries } of [high, low, y]) await canaries();
    // The tile behind n is not emptied.
    await tile.canaries();
    assert.ok((await read(gpu, tile.t)).subarray(0, 4 * n).every((x) => x === 0));
  });
});

test('300 sums of unlike size keep 44 bits and more, and are the same bits twice', async () => {
  const parts = Array.from({ length: 300 }, (_, i) => noise(260, i, 1000, 10 ** ((i % 7) - 3)));
  const { high, low } = await accumulated(parts);
  for (let e = 0; e < 260; e += 1) {
    const want = parts.reduce((sum, part) => sum + part[e]!, 0);
    assert.ok(
      Math.abs(high[e]! + low[e]! - want) <= Math.abs(want) * 2 ** -44,
      `element ${e}: ${high[e]! + low[e]! - want}`,
    );
    assert.is(Math.fround(high[e]! + low[e]!), high[e], 'normalised: high is the rounded sum');
  }
  const again = await accumulated(parts);
  assert.equal(again, { high, low });
});

test('scale_two_float divides by counts beyond 24 bits', async () => {
  const count = 123_456_789;
  const factor = 1 / count;
  // Of what `low` holds after a sum the result shows half a bit; so once it holds a tenth.
  for (const [high, low] of [
    [noise(64, 1, 3e7, 1e7), noise(64, 2, 0, 0.4)],
    [noise(64, 1, 3e7, 1e7), noise(64, 2, 0, 3e6)],
  ] as const)
    await gpu.scope(async (s) => {
      const y = zeros(s, [64], 'y');
      const bind = { high: tensor(s, high, [64]), low: tensor(s, low, [64]), y };
      const params = { n: 16, factor: Math.fround(factor), factor_low: factor - Math.fround(factor) };
      gpu.run('edit/scale_two_float', bind, params, { threads: 16 });
      (await read(gpu, y)).forEach((got, i) => {
        const want = (high[i]! + low[i]!) / count;
        assert.ok(Math.abs(got - want) <= 2 * 2 ** -23 * Math.abs(want), `${got} for ${want}`);
      });
    });
});

/** A symmetric f32 matrix in rows [f, f]. */
function symmetric(f: number, seed: number): Float32Array {
  const a = noise(f * f, seed);
  for (let i = 0; i < f; i += 1) for (let j = 0; j < i; j += 1) a[j * f + i] = a[i * f + j]!;
  return a;
}

test('C x keeps 44 bits of its terms, at awkward sizes, the same bits twice', async () => {
  for (const f of [1, 2, 63, 64, 65, 257, 641]) {
    const a = symmetric(f, f);
    // Beyond float32 on purpose: the second float of x counts.
    const x = Float64Array.from(noise(f, 1), (value, i) => value * (1 + 2 ** -30 * (i % 5)));
    await gpu.scope(async (s) => {
      const c = uploadSymmetric(s, a, f);
      const got = await symmetricProduct(s, c, x);
      for (let i = 0; i < f; i += 1) {
        let [want, terms] = [0, 0];
        for (let j = 0; j < f; j += 1) {
          want += a[i * f + j]! * x[j]!;
          terms += Math.abs(a[i * f + j]! * x[j]!);
        }
        assert.ok(Math.abs(got[i]! - want) <= terms * 2 ** -44, `order ${f}, row ${i}: ${got[i]! - want}`);
      }
      assert.equal(await symmetricProduct(s, c, x), got);
      for (const n of [2, 7, 65]) {
        const xs = Array.from({ length: n }, (_, v) => x.map((value) => value * (1 + v)));
        const all = await symmetricProducts(s, c, xs);
        for (const v of [0, n - 1])
          assert.equal(all[v], await symmetricProduct(s, c, xs[v]!), `${v} of ${n}`);
      }
    });
  }
});

test('C x sees what cancels: rows that float32 would call zero', async () => {
  const f = 130;
  const a = new Float32Array(f * f);
  for (let i = 0; i < f; i += 1) a[i * f + i] = 1;
  // (1 + e) and (1 − e) times the same number twice over, in a row and in a column.
  for (const [i, j, value] of [
    [100, 0, 1 + 2 ** -20],
    [100, 1, -(1 - 2 ** -20)],
    [0, 100, 1 + 2 ** -20],
    [1, 100, -(1 - 2 ** -20)],
  ] as const)
    a[i * f + j] = value;
  const x = Float64Array.from({ length: f }, (_, i) => (i < 2 ? 1 + 2 ** -20 : i === 100 ? -(2 ** -19) : 0));
  x[1] = 1 - 2 ** -21 * 3;
  await gpu.scope(async (s) => {
    const got = await symmetricProduct(s, uploadSymmetric(s, a, f), x);
    const want = a[100 * f]! * x[0]! + a[100 * f + 1]! * x[1]! + x[100]!;
    assert.ok(Math.abs(got[100]! - want) <= 2 ** -44, `${got[100]} for ${want}`);
  });
});

test.run();
