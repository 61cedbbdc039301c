import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { drawInto, narrow, widen } from '../src/tensor/elementwise.ts';
import { empty, read, readU32, upload } from '../src/tensor/tensor.ts';
import { gpu, wide } from './gpu.ts';
import { halfToFloat, nearestHalf } from './reference/half.ts';

const test = suite('half');

test('widen: every one of the 65,536 halves', async () => {
  await gpu.scope(async (s) => {
    const packed = upload(
      s,
      Uint32Array.from({ length: 32_768 }, (_, i) => 2 * i + ((2 * i + 1) << 16)),
      [32_768],
      'packed',
    );
    const { t: y, canaries } = wide(s, [65_536]);
    widen(s, packed, y, 'f16');
    const got = await read(gpu, y);
    for (let h = 0; h < 65_536; h += 1)
      assert.ok(
        Object.is(got[h], halfToFloat(h)) || (Number.isNaN(got[h]!) && Number.isNaN(halfToFloat(h))),
        `half ${h}: ${got[h]}, want ${halfToFloat(h)}`,
      );
    await canaries();
  });
});

test('widen: BF16 is the upper half of an f32', async () => {
  await gpu.scope(async (s) => {
    const words = Uint32Array.of(0x3f803f80, 0xc2280001, 0x7f80);
    const y = empty(s, [5], 'y');
    widen(s, upload(s, words, [3], 'packed'), y, 'bf16');
    assert.equal([...(await readU32(gpu, y))], [0x3f800000, 0x3f800000, 0x00010000, 0xc2280000, 0x7f800000]);
  });
});

test('narrow: every half, the ties between neighbours, and a hair on either side, to nearest even', async () => {
  const values: number[] = [];
  for (let h = 0; h < 0x7c00; h += 1) {
    const here = halfToFloat(h);
    const next = h === 0x7bff ? 65_536 : halfToFloat(h + 1);
    const tie = (here + next) / 2;
    values.push(here, tie, -Math.fround(tie * (1 - 2 ** -22)), Math.fround(tie * (1 + 2 ** -22)));
  }
  values.push(Infinity, -Infinity, 1e-10, 65_519.99, 1e9, -0);
  const x = Float32Array.from(values);
  await gpu.scope(async (s) => {
    const packed = narrow(s, upload(s, x, [x.length], 'x'));
    const words = await readU32(gpu, packed);
    x.forEach((value, i) => {
      const half = (words[i >> 1]! >> (16 * (i & 1))) & 0xffff;
      assert.is(half, nearestHalf(value), `${value} became ${half}`);
    });
  });
});

test('narrow: an odd number of values leaves a zero in the last half', async () => {
  await gpu.scope(async (s) => {
    const packed = narrow(
      s,
      upload(s, Float32Array.of(1, 2, 3), [3], 'x'),
      upload(s, Uint32Array.of(7, 7, 9), [3], 'packed'),
    );
    assert.equal([...(await readU32(gpu, packed))], [0x40003c00, 0x4200, 9]);
  });
});

test('random weights: mean 0, the deviation asked for, the same for the same seed in either storage', async () => {
  const [rows, cols, deviation] = [300, 256, 0.02];
  await gpu.scope(async (s) => {
    const draw = async (seed: number): Promise<Float32Array> => {
      const y = empty(s, [rows, cols], 'y');
      drawInto(s, y, seed, deviation);
      return read(gpu, y);
    };
    const [first, again, other] = [await draw(1), await draw(1), await draw(2)];
    assert.equal(again, first);
    const n = rows * cols;
    const sum = (of: (i: number) => number): number => first.reduce((total, _, i) => total + of(i), 0) / n;
    // Five standard errors of a mean, and of a variance whose kurtosis is below 3.
    assert.ok(Math.abs(sum((i) => first[i]!)) < (5 * deviation) / Math.sqrt(n));
    assert.ok(Math.abs(sum((i) => first[i]! ** 2) / deviation ** 2 - 1) < 5 * Math.sqrt(2 / n));
    for (const neighbour of [
      (i: number) => first[(i + 1) % n]!,
      (i: number) => first[(i + cols) % n]!,
      (i: number) => other[i]!,
    ])
      assert.ok(Math.abs(sum((i) => first[i]! * neighbour(i)) / deviation ** 2) < 5 / Math.sqrt(n));
    const half = empty(s, [rows, cols], 'half', 'f16');
    drawInto(s, half, 1, deviation);
    new Uint16Array(await gpu.readBytes(half)).forEach((bits, i) => {
      // pack2x16float may round either way.
      const [got, want] = [halfToFloat(bits), first[i]!];
      assert.ok(Math.abs(got - want) <= Math.max(Math.abs(want) * 2 ** -10, 2 ** -24), `${got}, ${want}`);
    });
  });
});

test.run();
