import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BLOCKS, isBlockType, largestOf, unitOf } from '../src/blocks.ts';
import type { BlockType } from '../src/blocks.ts';
import type { Scope } from '../src/gpu/scope.ts';
import { FORMATS, dequantise } from '../src/tensor/dequantise.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { gpu, read, tensor, wide } from './gpu.ts';
import * as reference from './reference/dequantise.ts';

const test = suite('dequantise');
const TYPES = Object.keys(BLOCKS) as BlockType[];

/** Blocks of random bytes, with scales that are numbers: small, subnormal, negative, the largest. */
function blocksOf(type: BlockType, count: number): Uint8Array<ArrayBuffer> {
  const { bytes, scales } = BLOCKS[type];
  let state = bytes;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 16;
  const all = Uint8Array.from({ length: count * bytes }, () => next() & 0xff);
  for (let block = 0; block < count; block += 1)
    for (const [at] of scales) {
      const h = block === 0 ? 0x0003 : block === 1 ? 0x8001 : block === 2 ? 0x7bff : next() & 0xbbff;
      all.set([h & 0xff, h >> 8], block * bytes + at);
    }
  return all;
}

/** Bytes on the device, in words. */
function words(s: Scope, bytes: Uint8Array<ArrayBuffer>): Tensor {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return tensor(s, new Uint32Array(padded.buffer), [padded.length / 4]);
}

const bits = (x: Float32Array): Uint32Array => new Uint32Array(x.buffer, x.byteOffset, x.length);

/** Products are exact and a sum rounds once, so float64 loops, rounded, and the kernels agree bit for bit. */
async function check(type: BlockType, bytes: Uint8Array<ArrayBuffer>, want: Float32Array): Promise<void> {
  await gpu.scope(async (s) => {
    const packed = words(s, bytes);
    const got = await read(gpu, dequantise(s, packed, want.length, type));
    const [mine, theirs] = [bits(got), bits(want)];
    const at = mine.findIndex((word, i) => word !== theirs[i]);
    assert.is(at, -1, `${type}: number ${at} is ${got[at]}, expected ${want[at]}`);
  });
}

for (const type of TYPES)
  test(`${type}: float64 loops, bit for bit`, async () => {
    for (const count of [1, 3, 41]) {
      const bytes = blocksOf(type, count);
      await check(type, bytes, Float32Array.from(reference.dequantise(type, bytes)));
    }
  });

test('no kernel writes past its numbers, however many threads there are', async () => {
  for (const type of TYPES)
    await gpu.scope(async (s) => {
      const n = 3 * BLOCKS[type].elements;
      const bytes = blocksOf(type, 5); // more than n of them, so that there is something to write
      const { t: y, canaries } = wide(s, [n]);
      const grid = { threads: n + 300, overrides: FORMATS[type] };
      gpu.run('tensor/dequantise', { packed: words(s, bytes), y }, { n }, grid);
      const want = Float32Array.from(reference.dequantise(type, bytes)).subarray(0, n);
      assert.equal(bits((await read(gpu, y)).subarray(0, n)), bits(want), type);
      await canaries();
    });
});

interface Golden {
  readonly bytes: string;
  readonly float32: string;
}
const golden = JSON.parse(
  readFileSync(new URL('golden/gguf-blocks.json', import.meta.url), 'utf8'),
) as Record<string, Golden>;

for (const [type, { bytes, float32 }] of Object.entries(golden))
  test(`${type}: what Python's gguf makes of the same bytes, bit for bit`, async () => {
    assert.ok(isBlockType(type));
    const want = new Float32Array(Uint8Array.from(Buffer.from(float32, 'base64')).buffer);
    await check(type as BlockType, Uint8Array.from(Buffer.from(bytes, 'base64')), want);
  });

test('the op refuses parts of blocks, and more numbers than there are', async () => {
  await gpu.scope((s) => {
    const packed = words(s, blocksOf('Q4_0', 2));
    assert.throws(
      () => dequantise(s, packed, 33, 'Q4_0'),
      /33 numbers of Q4_0 take blocks of 32 in 18 bytes/,
    );
    assert.throws(() => dequantise(s, packed, 96, 'Q4_0'), /has 36 bytes/);
  });
});

test('the largest number of blocks is bounded, and a scale that is none is found', () => {
  for (const type of TYPES) {
    const { bytes, scales } = BLOCKS[type];
    const blocks = blocksOf(type, 5);
    const largest = reference.dequantise(type, blocks).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    assert.ok(largestOf(type, blocks) >= largest && largest > 0, type);
    for (const [at] of scales)
      for (const h of [0x7c00, 0xfc00, 0x7e01]) {
        const damaged = blocks.slice();
        damaged.set([h & 0xff, h >> 8], 4 * bytes + at);
        assert.is(largestOf(type, damaged), Infinity, `${type} ${at} ${h}`);
      }
  }
  assert.equal(
    [unitOf('F32'), unitOf('BF16')],
    [
      { elements: 1, bytes: 4 },
      { elements: 1, bytes: 2 },
    ],
  );
});

test.run();
