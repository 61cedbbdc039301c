import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { add } from '../src/tensor/elementwise.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Scope } from '../src/gpu/scope.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { gpu, noise, wide } from './gpu.ts';

const test = suite('elementwise');

test('add: one rounding of the exact sum, nothing past the end', async () => {
  for (const n of [1, 63, 64, 65, 257, 5003]) {
    await gpu.scope(async (s) => {
      const [a, b] = [noise(n, 1, 100, 3), noise(n, 2)];
      const { t: y, canaries } = wide(s, [n]);
      gpu.run(
        'tensor/add',
        { a: upload(s, a, [n], 'a'), b: upload(s, b, [n], 'b'), y },
        { n },
        { threads: n },
      );
      const got = await read(gpu, y);
      a.forEach((x, i) => assert.is(got[i], Math.fround(x + b[i]!), `element ${i} of ${n}`));
      await canaries();
    });
  }
});

test('add: more elements than one dimension of the grid takes groups', async () => {
  const n = 65_535 * 64 + 77;
  await gpu.scope(async (s) => {
    const x = Float32Array.from({ length: n }, (_, i) => i % 1021);
    const t = upload(s, x, [n], 'x');
    const got = await read(gpu, add(s, t, t));
    assert.ok(got.every((y, i) => y === 2 * (i % 1021)));
  });
});

test('tape: a tensor used twice gets both gradients; an unwatched one, none; a loss that does not depend, an error', () => {
  const tape = new Tape();
  const s = new Scope(gpu, tape);
  const [x, other] = [upload(s, noise(5, 1), [5], 'x'), upload(s, noise(5, 2), [5], 'other')];
  tape.watch(x);
  const y = add(s, add(s, x, other), x); // dy/dx = 2
  const seed = tape.backward(s, y, x);
  assert.equal(seed.shape, [5]);
  assert.throws(() => tape.backward(s, y, other), /does not depend on "other"/);
  s.close();
});

test('add refuses unlike shapes and names both', async () => {
  await gpu.scope((s) => {
    const [a, b] = [upload(s, noise(6, 1), [2, 3], 'a'), upload(s, noise(6, 2), [3, 2], 'b')];
    assert.throws(() => add(s, a, b), /add: shapes differ: "a" \[2, 3\], "b" \[3, 2\]/);
  });
});

test.run();
