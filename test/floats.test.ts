import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../src/errors.ts';
import { bytesOf, narrowF16, widen } from '../src/floats.ts';
import { throws } from './folder.ts';
import { halfToFloat, nearestHalf } from './reference/half.ts';

const test = suite('floats');
const ALL = Uint16Array.from({ length: 65_536 }, (_, h) => h);

test('F16 to f32: every one of the 65,536 halves', () => {
  const got = widen('F16', bytesOf(ALL));
  for (let h = 0; h < 65_536; h += 1) assert.ok(Object.is(got[h], halfToFloat(h)), `half ${h}: ${got[h]}`);
});

test('BF16 to f32: every one is the upper half of an f32', () => {
  const got = widen('BF16', bytesOf(ALL));
  const want = new Float32Array(Uint32Array.from(ALL, (h) => h * 65_536).buffer);
  for (let h = 0; h < 65_536; h += 1) assert.ok(Object.is(got[h], want[h]), `bfloat ${h}: ${got[h]}`);
  assert.is(got[0x3fc0], 1.5);
});

test('F32, odd byte offsets and a given output', () => {
  const bytes = new Uint8Array(9);
  bytes.set(bytesOf(Float32Array.of(-1.5, 3e-42)), 1);
  assert.equal(widen('F32', bytes.subarray(1)), Float32Array.of(-1.5, 3e-42));
  const halves = new Uint8Array(5);
  halves.set(bytesOf(Uint16Array.of(0x3c00, 0xc000)), 1);
  const out = new Float32Array(4).fill(9);
  widen('F16', halves.subarray(1), out.subarray(1, 3));
  assert.equal(out, Float32Array.of(9, 1, -2, 9));
});

test('f32 to F16: every half comes back, ties go to the even one, a hair decides', () => {
  const values: number[] = [0, -0, 1e-45, -1e-45, 1e-10, Infinity, -Infinity];
  for (let h = 0; h < 0x7bff; h += 1) {
    const [here, tie] = [halfToFloat(h), (halfToFloat(h) + halfToFloat(h + 1)) / 2];
    for (const x of [here, tie, tie * (1 - 2 ** -23), tie * (1 + 2 ** -23)]) values.push(x, -x);
  }
  const x = Float32Array.from(values);
  const got = narrowF16(x);
  x.forEach((value, i) => assert.is(got[i], nearestHalf(value), `${value} became ${got[i]}`));
  assert.is(narrowF16(Float32Array.of(NaN))[0]! & 0x7fff, 0x7e00);
});

test('f32 to F16: a finite value never becomes an infinity in silence', async () => {
  assert.is(narrowF16(Float32Array.of(65_519.996))[0], 0x7bff);
  await throws(() => narrowF16(Float32Array.of(1, -65_520)), UsageError, 'element 1', '-65520', 'F32');
});

test.run();
