import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../src/tensor/tape.ts';
import { gatherRows, putRows } from '../src/tensor/gather.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';

const test = suite('rows');

/** N, D and which rows; repeats included. */
const CASES: [number, number, number[]][] = [
  [1, 1, [0]],
  [5, 63, [4, 0, 4]],
  [9, 65, [8, 8, 8, 8, 1]],
  [300, 257, [299, 7, 0, 123, 7]],
];

for (const WG of [32, 64, 256])
  test(`gather and scatter in workgroups of ${WG}`, async () => {
    for (const [n, d, list] of CASES)
      await gpu.scope(async (s) => {
        const grid = { threads: list.length * d, overrides: { WG } };
        const index = tensor(s, Uint32Array.from(list), [list.length]);
        const x = noise(n * d, n);
        const y = wide(s, [list.length, d]);
        gpu.run(
          'tensor/gather_rows',
          { x: tensor(s, x, [n, d]), index, y: y.t },
          { rows: list.length, d },
          grid,
        );
        const want = list.flatMap((row) => [...x.subarray(row * d, row * d + d)]);
        assert.equal([...(await read(gpu, y.t)).subarray(0, list.length * d)], want);
        await y.canaries();

        const dy = noise(list.length * d, d);
        const dx = wide(s, [n, d]);
        gpu.clear(dx.t.reshape(n, d)); // not its canaries
        gpu.run(
          'tensor/scatter_rows',
          { dy: tensor(s, dy, [list.length, d]), index, dx: dx.t },
          { rows: list.length, d },
          { groups: list.length, overrides: { WG } },
        );
        const sums = new Float64Array(n * d);
        list.forEach((row, i) => dy.subarray(i * d, i * d + d).forEach((v, c) => (sums[row * d + c]! += v)));
        allclose('scatter', (await read(gpu, dx.t)).subarray(0, n * d), sums, { reduce: 4, scale: 4 });
        await dx.canaries();
      });
  });

test('the tape sends gradients back to the rows they came from', async () => {
  const tape = new Tape();
  await gpu.scope(async (s) => {
    const x = tensor(s, noise(6, 1), [3, 2]);
    tape.watch(x);
    const y = gatherRows(s, x, tensor(s, Uint32Array.from([2, 0, 2]), [3]));
    // `backward` seeds the gradient with the loss itself: y takes the part of dL/dy
    const dx = tape.backward(s, y, x);
    const [a, b, , , e, f] = await read(gpu, x);
    assert.equal([...(await read(gpu, dx))], [a, b, 0, 0, 2 * e!, 2 * f!]);
  }, tape);
});

test('put_rows: rows and sources as named, from some column on, the rest untouched', async () => {
  // Causal tracing puts whole rows back; a cache takes k and v, whose first columns lie anywhere in a row of q, k and v.
  for (const [first, d] of [
    [0, 67],
    [1, 2],
    [16, 176],
    [96, 64],
  ] as const)
    await gpu.scope(async (s) => {
      const [t, n] = [9, 5];
      const [x, before] = [noise(n * (first + d), 1), noise(t * d, 2)];
      const { t: y, canaries } = wide(s, [t, d]);
      gpu.write(y, before);
      const [rows, sources] = [Uint32Array.of(8, 0, 4), Uint32Array.of(2, 4, 2)];
      const at = tensor(s, rows, [3]);
      putRows(s, y, tensor(s, x, [n, first + d]), at, tensor(s, sources, [3]), { first });
      const want = before.slice();
      rows.forEach((row, i) => {
        const end = (sources[i]! + 1) * (first + d);
        want.set(x.subarray(end - d, end), row * d);
      });
      assert.equal((await read(gpu, y)).subarray(0, t * d), want);
      await canaries();
      assert.throws(() => putRows(s, y, y, at, tensor(s, sources.slice(1), [2])), /2 rows for 3/);
    });
});

test.run();
