import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/errors.ts';
import { nameOf } from '../src/gpu/rung.ts';
import { narrow } from '../src/tensor/elementwise.ts';
import { MATMUL } from '../src/tensor/matmul-rungs.ts';
import type { MatmulRung } from '../src/tensor/matmul-rungs.ts';
import { matmul } from '../src/tensor/matmul.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Tensor, empty, read, upload, zeros } from '../src/tensor/tensor.ts';
import { gpu, noise, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { gelu as geluReference } from './reference/activations.ts';
import { halfToFloat } from './reference/half.ts';
import { lastInStrips } from '../src/tensor/strips.ts';
import { matmulReference } from './reference/matmul.ts';

const test = suite('matmul');

/** m, k, n: ones, primes, multiples of 4 that are not of 8. */
const SIZES: readonly Size[] = [
  [1, 1, 1],
  [1, 4, 257],
  [2, 7, 3],
  [3, 12, 20],
  [22, 101, 61],
  [33, 101, 61],
  [31, 257, 67],
  [130, 8, 260],
  [1, 8203, 8], // strips are folded after 8192 rows
  [2, 8, 8203],
  [1, 101, 8203],
];

type Size = readonly [m: number, k: number, n: number];

/** One less and one more than a tile, and the tile; k of whole quads, and not. */
function around([rows, columns]: readonly [number, number] = [8, 8]): Size[] {
  return [-1, 0, 1].flatMap((d): Size[] => [
    [Math.max(1, rows + d), 36, columns + 4 * d],
    [rows, 20 + d, columns + d],
  ]);
}

function sum(rows: number, cols: number): string {
  return `[${rows}, ${cols}]`;
}

const DTYPES = ['f32', 'f16', 'bf16'] as const;
type Stored = (typeof DTYPES)[number];

for (const rung of MATMUL) {
  for (const transposeB of [false, true]) {
    for (const dtype of DTYPES) {
      const usable = ([m, k, n]: Size): boolean =>
        rung.fits({ m, n, k, transposeB, dtype, aStride: k, aFirst: 0, strips: true }, gpu.adapter);
      const sizes = [...SIZES, ...around(rung.tile)].filter(usable);
      if (sizes.length === 0) continue; // a rung for another adapter or storage
      test(`${nameOf(rung)}${transposeB ? ' transposed' : ''} ${dtype}: sizes around its tile, bias, accumulation`, async () => {
        for (const size of sizes) await oneProduct(rung, size, transposeB, dtype);
      });
    }
  }
}

test('a few rows: strips of 4 to 64 columns, 2 to 64 slices of k, any number of rows', async () => {
  const rung = MATMUL.find(({ kernel }) => kernel === 'tensor/matmul_few_rows')!;
  for (const [WG, QUADS, ROWS] of [
    [32, 16, 3],
    [64, 1, 4],
    [128, 4, 2],
  ] as const) {
    const changed: MatmulRung = {
      ...rung,
      grid: ({ n }) => ({ groups: Math.ceil(n / (4 * QUADS)) }),
      overrides: (p, adapter) => ({ ...rung.overrides?.(p, adapter), WG, QUADS, ROWS }),
    };
    for (const n of [4 * QUADS - 1, 4 * QUADS, 4 * QUADS + 1])
      await oneProduct(changed, [ROWS, 35, n], QUADS === 4, 'f32');
  }
});

async function oneProduct(rung: MatmulRung, size: Size, transposeB: boolean, dtype: Stored): Promise<void> {
  const [m, k, n] = size;
  const what = `${nameOf(rung)} ${sum(m, k)} · ${sum(k, n)}`;
  await gpu.scope(async (s) => {
    const a = noise(m * k, 1, 1);
    let b = noise(k * n, 2);
    const bias = noise(n, 3);
    const before = noise(m * n, 4);
    let tb = upload(s, b, transposeB ? [n, k] : [k, n], 'b');
    if (dtype === 'bf16') {
      // Cut to bf16: the upper halves of the words, two side by side.
      const words = new Uint32Array(b.buffer).map((word) => word & 0xffff0000);
      b = new Float32Array(words.buffer);
      const pairs = Uint32Array.from(
        { length: Math.ceil(words.length / 2) },
        (_, i) => ((words[2 * i]! >>> 16) | (words[2 * i + 1] ?? 0)) >>> 0,
      );
      tb = empty(s, tb.shape, 'b', 'bf16');
      gpu.write(tb, pairs);
    } else if (dtype === 'f16') {
      tb = narrow(s, tb);
      const halves = new Uint16Array(await gpu.readBytes(tb));
      b = Float32Array.from(halves.subarray(0, k * n), halfToFloat);
    }
    const ta = upload(s, a, [m, k], 'a');
    const tbias = upload(s, bias, [n], 'bias');
    const largest = (x: Float32Array): number =>
      x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const scale = largest(a) * largest(b);
    const tbefore = upload(s, before, [m, n], 'before');
    for (const [biased, onto] of [
      [false, 'nothing'],
      [true, 'nothing'],
      [true, 'out'],
      [false, 'residual'],
    ] as const) {
      const { t: out, canaries } = wide(s, [m, n]);
      const accumulate = onto === 'out';
      if (accumulate) gpu.write(out, before);
      matmul(s, ta, tb, {
        ...{ transposeB, out, rung },
        ...(accumulate ? { accumulate } : {}),
        ...(onto === 'residual' ? { residual: tbefore } : {}),
        ...(biased ? { bias: tbias } : {}),
      });
      const got = (await read(gpu, out)).subarray(0, m * n);
      const want = matmulReference(a, b, size, {
        transposeB,
        ...(biased ? { bias } : {}),
        ...(onto === 'nothing' ? {} : { before }),
      });
      allclose(what, got, want, { reduce: k + 2, scale });
      await canaries();
    }
  });
}

test('the same numbers twice, bit for bit', async () => {
  await gpu.scope(async (s) => {
    const a = upload(s, noise(37 * 300, 5), [37, 300], 'a');
    const b = upload(s, noise(300 * 260, 6), [300, 260], 'b');
    assert.equal(await read(gpu, matmul(s, a, b)), await read(gpu, matmul(s, a, b)));
  });
});

test('strips: the same bits before and after they are made, new ones after a write, gone with b', async () => {
  const before = gpu.pool.derivedBytes;
  const [m, k, n] = [20, 44, 72];
  await gpu.scope(async (s) => {
    const a = noise(m * k, 15);
    const ta = upload(s, a, [m, k], 'a');
    const tb = upload(s, noise(k * n, 16), [k, n], 'b');
    const first = await read(gpu, matmul(s, ta, tb));
    assert.is(gpu.pool.derivedBytes, before, 'one product does not pay for strips');
    for (let i = 0; i < 2; i += 1) assert.equal(await read(gpu, matmul(s, ta, tb)), first);
    if (gpu.adapter.kind === 'software') assert.ok(gpu.pool.derivedBytes > before, 'no strips were made');
    const b = noise(k * n, 17);
    const writes = [
      (): void => gpu.write(tb, b),
      (): void => gpu.copy(upload(s, b, [k, n], 'new'), tb),
      (): void => void matmul(s, upload(s, eye(k), [k, k], 'one'), upload(s, b, [k, n], 'new'), { out: tb }),
    ];
    for (const write of writes) {
      gpu.clear(tb);
      for (let i = 0; i < 2; i += 1)
        assert.ok(
          (await read(gpu, matmul(s, ta, tb))).every((x) => x === 0),
          'cleared, not seen',
        );
      write();
      for (let i = 0; i < 3; i += 1)
        allclose('rewritten', await read(gpu, matmul(s, ta, tb)), matmulReference(a, b, [m, k, n]), {
          reduce: k,
          scale: 9,
        });
    }
  });
  assert.is(gpu.pool.derivedBytes, before);
});

for (const [v, d] of [
  [72, 44],
  [61, 7],
  [8203, 12], // more columns of the transpose than a window of strips is high
  [9, 8203], // folded after 8192 rows of the transpose
] as const) {
  for (const dtype of ['f32', 'f16'] as const) {
    if (dtype === 'f16' && d % 2 === 1) continue; // two of them share a word
    test(`few rows with the transpose of ${sum(v, d)} ${dtype} read strips of the transpose, and so does their gradient`, async () => {
      await gpu.scope(async (s) => {
        const data = noise(v * d, 51);
        const f32 = upload(s, data, [v, d], 'b');
        const b = dtype === 'f16' ? narrow(s, f32) : f32;
        const halves = dtype === 'f16' ? new Uint16Array(await gpu.readBytes(b)) : undefined;
        const exact = halves ? Float32Array.from(halves.subarray(0, v * d), halfToFloat) : data;
        lastInStrips(b, 'out-in');
        for (const m of [3, 3, 1, 8, 17]) {
          const x = noise(m * d, 52 + m);
          const got = await read(gpu, matmul(s, upload(s, x, [m, d], 'x'), b, { transposeB: true }));
          const want = matmulReference(x, exact, [m, d, v], { transposeB: true });
          allclose(`${m} rows`, got, want, { reduce: d, scale: 9 });
          const dy = noise(m * v, 70 + m);
          const back = await read(gpu, matmul(s, upload(s, dy, [m, v], 'dy'), b));
          allclose(`${m} rows back`, back, matmulReference(dy, exact, [m, v, d]), { reduce: v, scale: 9 });
        }
        if (gpu.adapter.kind === 'software') assert.match(b.block.derived?.key ?? '', /ᵀ$/);
      });
    });
  }
}

test('GELU of a product, in one dispatch or two, with and without strips', async () => {
  const [k, n] = [36, 132];
  await gpu.scope(async (s) => {
    const [data, bias] = [noise(k * n, 61), noise(n, 62)];
    const b = upload(s, data, [k, n], 'b');
    const tbias = upload(s, bias, [n], 'bias');
    for (const m of [1, 1, 2, 8, 9, 20]) {
      const a = noise(m * k, 63 + m, 1);
      const ta = upload(s, a, [m, k], 'a');
      const z = matmulReference(a, data, [m, k, n], { bias });
      const got = await read(gpu, matmul(s, ta, b, { bias: tbias, gelu: true }));
      // |gelu'| < 1.13, so an error of z passes on as it is; the formula's own is a few roundings of |z|.
      allclose(`${m} rows`, got, z.map(geluReference), { reduce: 2 * k, scale: 12 });
    }
    const out = upload(s, noise(n, 64), [1, n], 'out');
    const a = upload(s, noise(k, 65), [1, k], 'a');
    assert.throws(() => matmul(s, a, b, { gelu: true, out }), /leave `out` away/);
  });
});

function eye(n: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}

test('a matrix larger than a binding: rows that lie in different windows', async () => {
  const [rows, cols] = [33_000, 1_040]; // 137 MB: two windows on lavapipe, one elsewhere
  await gpu.scope(async (s) => {
    const b = zeros(s, [rows, cols], 'b');
    const set = new Map(
      [0, 8191, 8192, 31_999, 32_768, rows - 1].map((row, i) => [row, noise(cols, 20 + i)]),
    );
    for (const [row, values] of set) gpu.write(b, values, row * cols * 4);
    const along = noise(cols, 30);
    const down = noise(rows, 31);
    const bias = noise(rows, 32);
    const wantRows = Float64Array.from(bias);
    const wantCols = new Float64Array(cols);
    for (const [row, values] of set)
      for (let c = 0; c < cols; c += 1) {
        wantRows[row]! += along[c]! * values[c]!;
        wantCols[c]! += down[row]! * values[c]!;
      }
    const x = upload(s, along, [1, cols], 'along');
    const y = upload(s, down, [1, rows], 'down');
    const tbias = upload(s, bias, [rows], 'bias');
    const shape = { m: 1, dtype: 'f32', aFirst: 0, strips: true } as const;
    for (const rung of MATMUL.filter(({ reads }) => reads !== 'words')) {
      if (rung.fits({ ...shape, n: rows, k: cols, transposeB: true, aStride: cols }, gpu.adapter)) {
        const got = await read(gpu, matmul(s, x, b, { transposeB: true, bias: tbias, rung }));
        allclose(`${nameOf(rung)} ᵀ`, got, wantRows, { reduce: cols, scale: 9 });
      }
      if (rung.fits({ ...shape, n: cols, k: rows, transposeB: false, aStride: rows }, gpu.adapter)) {
        const got = await read(gpu, matmul(s, y, b, { rung }));
        allclose(nameOf(rung), got, wantCols, { reduce: set.size, scale: 9 });
      }
    }
  });
});

test('K of 50,257: the error stays within the bound of a sum of K products', async () => {
  const [m, k, n] = [3, 50_257, 8];
  await gpu.scope(async (s) => {
    const a = noise(m * k, 7);
    const b = noise(k * n, 8);
    const got = await read(gpu, matmul(s, upload(s, a, [m, k], 'a'), upload(s, b, [k, n], 'b')));
    allclose('long sum', got, matmulReference(a, b, [m, k, n]), { reduce: k, scale: 4 });
  });
});

test('backward: central difference of Σ w ⊙ (a·b), both layouts, a not aligned too', async () => {
  for (const [m, k, n] of [
    [5, 12, 8],
    [3, 7, 5],
  ] as const) {
    for (const transposeB of [false, true]) {
      const a = noise(m * k, 9);
      const b = noise(k * n, 10);
      const w = noise(m * n, 11);
      const loss = (x: ArrayLike<number>): number =>
        matmulReference(x, b, [m, k, n], { transposeB }).reduce((total, c, i) => total + c * w[i]!, 0);
      const tape = new Tape();
      await gpu.scope(async (s) => {
        const ta = upload(s, a, [m, k], 'a');
        tape.watch(ta);
        const c = matmul(s, ta, upload(s, b, transposeB ? [n, k] : [k, n], 'b'), { transposeB });
        // An op downstream whose backward is the constant w makes Σ w ⊙ c of it.
        const seeded = new Tensor(c.block, c.shape);
        tape.record(seeded, [c], () => [upload(s, w, [m, n], 'w')]);
        const got = await read(gpu, tape.backward(s, seeded, ta));
        const want = Array.from(a, (_, i) => {
          const up = Float64Array.from(a);
          const down = Float64Array.from(a);
          up[i] = up[i]! + 1e-3;
          down[i] = down[i]! - 1e-3;
          return (loss(up) - loss(down)) / 2e-3;
        });
        allclose('dL/da', got, want, { reduce: n, scale: 9 });
      }, tape);
    }
  }
});

test('operands that do not fit are refused by name, with the likely remedy', async () => {
  await gpu.scope((s) => {
    const a = upload(s, noise(10, 1), [2, 5], 'x');
    const b = upload(s, noise(15, 1), [3, 5], 'w');
    assert.throws(
      () => matmul(s, a, b),
      (e: unknown) => e instanceof ShapeError && /"x".*"w".*transposeB/.test(e.message),
    );
    assert.throws(() => matmul(s, a, b, { transposeB: true, accumulate: true }), /accumulate/);
    const residual = (rows: number) => upload(s, new Float32Array(rows * 3), [rows, 3], 'r');
    assert.throws(
      () => matmul(s, a, b, { transposeB: true, residual: residual(5) }),
      /residual is "r" f32 \[5, 3\]/,
    );
    assert.throws(() => matmul(s, a, b, { transposeB: true, bias: a }), /bias/);
  });
});

test.run();
