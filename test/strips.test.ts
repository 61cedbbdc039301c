/** Matrices that live in strips alone: products read them, and whoever asks for the buffer gets the same bits back. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { matmul } from '../src/tensor/matmul.ts';
import { keepInStrips, lastInStrips } from '../src/tensor/strips.ts';
import { copy, empty, read, upload } from '../src/tensor/tensor.ts';
import { allclose } from './reference/allclose.ts';
import { matmulReference } from './reference/matmul.ts';
import { gpu, noise } from './gpu.ts';

const test = suite('strips');

for (const [k, n] of [
  [44, 72],
  [5, 3],
  [8203, 9], // folded after 8192 rows
] as const) {
  test(`[${k}, ${n}] comes back from its strips bit for bit`, async () => {
    await gpu.scope(async (s) => {
      const data = noise(k * n, 1);
      const b = upload(s, data, [k, n], 'b');
      const a = noise(4 * k, 2);
      keepInStrips(s, b);
      assert.is(b.block.buffer === undefined, gpu.adapter.kind === 'software');
      allclose(
        'product',
        await read(gpu, matmul(s, upload(s, a, [4, k], 'a'), b)),
        matmulReference(a, data, [4, k, n]),
        { reduce: k, scale: 9 },
      );
      assert.is(b.block.buffer === undefined, gpu.adapter.kind === 'software', 'a product needs no buffer');
      assert.equal(await read(gpu, b), data);
      assert.ok(b.block.buffer);
    });
  });
}

for (const [k, n] of [
  [44, 72],
  [5, 3],
  [16_390, 10], // folded after 8192 texels, of two rows each
] as const) {
  test(`[${k}, ${n}] in 16 bits takes half the room, and comes back bit for bit`, async () => {
    for (const [dtype, layout] of [
      ['f16', 'in-out'],
      ['bf16', 'in-out'],
      ['bf16', 'out-in'],
    ] as const)
      await gpu.scope(async (s) => {
        const bits = Uint16Array.from({ length: k * n + ((k * n) % 2) }, (_, i) => (i * 40_503) & 0xffff);
        if (k * n < bits.length) bits[k * n] = 0;
        const b = empty(s, [k, n], 'b', dtype);
        gpu.write(b, bits);
        keepInStrips(s, b, layout);
        assert.is(b.block.buffer === undefined, gpu.adapter.kind === 'software');
        const [down, across] = layout === 'in-out' ? [k, n] : [n, k];
        const whole = 2 * (Math.ceil(down / 8) * 8) * (Math.ceil(across / 32) * 32); // bytes with the edges filled up
        if (b.block.derived && down <= 16_384) assert.is(b.block.derived.bytes, whole);
        assert.equal(new Uint16Array(await gpu.readBytes(b)), bits.subarray(0, k * n));
      });
  });
}

for (const [n, k] of [
  [72, 44],
  [6, 5],
  [9, 8203], // its transpose is folded after 8192 rows
] as const)
  test(`Linear weight [${n}, ${k}]: strips of the transpose serve the product and its gradient, and come back`, async () => {
    const data = noise(n * k, 1);
    for (const m of [1, 4, 20])
      await gpu.scope(async (s) => {
        const b = upload(s, data, [n, k], 'b');
        keepInStrips(s, b, 'out-in');
        assert.is(b.block.buffer === undefined, gpu.adapter.kind === 'software');
        const [a, dc] = [noise(m * k, m), noise(m * n, m + 1)];
        const c = await read(gpu, matmul(s, upload(s, a, [m, k], 'a'), b, { transposeB: true }));
        const want = matmulReference(a, data, [m, k, n], { transposeB: true });
        allclose(`${m} rows`, c, want, { reduce: k, scale: 9 });
        const da = await read(gpu, matmul(s, upload(s, dc, [m, n], 'dc'), b));
        allclose(`gradient, ${m} rows`, da, matmulReference(dc, data, [m, n, k]), { reduce: n, scale: 9 });
        assert.is(b.block.buffer === undefined, gpu.adapter.kind === 'software', 'products need no buffer');
        assert.equal(await read(gpu, b), data);
        const again = matmul(s, upload(s, dc, [m, n], 'dc'), b);
        assert.equal(await read(gpu, again), da, 'with the buffer there too');
      });
  });

test('every way to the buffer brings the contents back; a product sees what is written then', async () => {
  const [k, n] = [40, 64]; // a row begins at an offset that may be bound
  const [old, fresh] = [noise(k * n, 3), noise(k * n, 4)];
  const a = noise(2 * k, 5);
  const ways = {
    write: (_, b) => gpu.write(b, fresh.subarray(n, 2 * n), 4 * n),
    copy: (s, b) => gpu.copy(upload(s, fresh.subarray(n, 2 * n), [n], 'row'), b.slice(1, 2).reshape(n)),
    kernel: (s, b) =>
      void matmul(
        s,
        upload(s, Float32Array.of(1), [1, 1], 'one'),
        upload(s, fresh.subarray(n, 2 * n), [1, n], 'row'),
        { out: b.slice(1, 2) },
      ),
  } satisfies Record<string, (s: Parameters<typeof upload>[0], b: ReturnType<typeof upload>) => void>;
  const want = Float32Array.from(old);
  want.set(fresh.subarray(n, 2 * n), n);
  for (const [name, way] of Object.entries(ways)) {
    await gpu.scope(async (s) => {
      const b = upload(s, old, [k, n], 'b');
      keepInStrips(s, b);
      way(s, b);
      assert.equal(await read(gpu, b), want, name);
      for (let i = 0; i < 3; i += 1)
        allclose(
          name,
          await read(gpu, matmul(s, upload(s, a, [2, k], 'a'), b)),
          matmulReference(a, want, [2, k, n]),
          {
            reduce: k,
            scale: 9,
          },
        );
    });
  }
});

for (const [k, n] of [
  [2056, 72],
  [2050, 70],
] as const)
  test(`[${k}, ${n}]: a product has the same bits whatever was computed before it`, async () => {
    const data = noise(k * n, 6);
    for (const layout of [undefined, 'in-out', 'out-in'] as const)
      for (const transposeB of [false, true]) {
        const found = new Map<number, Float32Array>();
        for (const order of [
          [1, 4, 20, 1, 4, 20],
          [20, 4, 1],
        ])
          await gpu.scope(async (s) => {
            const b = upload(s, data, [k, n], 'b');
            if (layout) lastInStrips(b, layout);
            for (const m of order) {
              const a = upload(s, noise(m * (transposeB ? n : k), m), [m, transposeB ? n : k], 'a');
              const c = await read(gpu, matmul(s, a, b, { transposeB }));
              assert.equal(c, found.get(m) ?? c, `${layout} ${transposeB} ${m} rows`);
              found.set(m, c);
            }
          });
      }
  });

test('a copy of a matrix in strips is the matrix', async () => {
  await gpu.scope(async (s) => {
    const data = noise(40 * 36, 8);
    const b = upload(s, data, [40, 36], 'b');
    keepInStrips(s, b);
    assert.equal(await read(gpu, copy(s, b)), data);
  });
});

test('bytes are counted once while a matrix lives in strips alone, twice while it does not', async () => {
  const [live, derived] = [gpu.liveBytes, gpu.pool.derivedBytes];
  await gpu.scope(async (s) => {
    const b = upload(s, noise(64 * 64, 6), [64, 64], 'b');
    keepInStrips(s, b);
    assert.is(gpu.liveBytes - live, 64 * 64 * 4);
    assert.is(gpu.pool.derivedBytes, derived);
    await read(gpu, b);
    assert.is(gpu.liveBytes - live, 64 * 64 * 4);
    const software = gpu.adapter.kind === 'software';
    assert.is(gpu.pool.derivedBytes - derived, software ? 64 * 64 * 4 : 0);
  });
  assert.is(gpu.liveBytes, live);
  assert.is(gpu.pool.derivedBytes, derived);
});

test('a buffer that nothing stands in for is not given up', async () => {
  await gpu.scope((s) => {
    const b = upload(s, noise(64, 7), [8, 8], 'b');
    assert.throws(() => gpu.pool.spare(b.block), /nothing else holds what "b" holds/);
    keepInStrips(s, b);
    gpu.clear(b);
    assert.throws(() => gpu.pool.spare(b.block), /nothing else holds/);
  });
});

test.run();
