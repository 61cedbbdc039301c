/** Blocks of GGUF in float64, a block at a time, in the order in which ggml's `dequantize_row_*` walks them. */
import type { BlockType } from '../../src/blocks.ts';
import { BLOCKS } from '../../src/blocks.ts';

function half(b: Uint8Array, at: number): number {
  const h = b[at]! | (b[at + 1]! << 8);
  const [sign, e, f] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
  return sign * (e === 0 ? f * 2 ** -24 : (1 + f / 1024) * 2 ** (e - 15));
}

const int8 = (x: number): number => (x > 127 ? x - 256 : x);

/** 16 bytes: low halves are numbers 0 to 15, high halves 16 to 31; `high` holds their fifth bits. */
function nibbles(b: Uint8Array, qs: number, high?: number): number[] {
  const q = new Array<number>(32).fill(0);
  for (let j = 0; j < 16; j += 1) {
    q[j] = b[qs + j]! % 16;
    q[j + 16] = Math.floor(b[qs + j]! / 16);
  }
  if (high !== undefined)
    for (let j = 0; j < 32; j += 1) if ((b[high + (j >> 3)]! >> (j & 7)) & 1) q[j]! += 16;
  return q;
}

/** The scale and the minimum of part j of a Q4_K or Q5_K block, whose 12 bytes begin at `s`. */
function scaleAndMin(b: Uint8Array, s: number, j: number): [number, number] {
  if (j < 4) return [b[s + j]! % 64, b[s + 4 + j]! % 64];
  const low = b[s + j + 4]!;
  return [(low % 16) + (b[s + j - 4]! >> 6) * 16, Math.floor(low / 16) + (b[s + j]! >> 6) * 16];
}

function kBlock(b: Uint8Array, high: number | undefined, qs: number): number[] {
  const [d, least] = [half(b, 0), half(b, 2)];
  const y: number[] = [];
  for (let pair = 0; pair < 4; pair += 1)
    for (const upper of [0, 1]) {
      const part = 2 * pair + upper;
      const [s, m] = scaleAndMin(b, 4, part);
      for (let l = 0; l < 32; l += 1) {
        const byte = b[qs + 32 * pair + l]!;
        const fifth = high === undefined ? 0 : ((b[high + l]! >> part) & 1) * 16;
        y.push(d * s * ((upper ? byte >> 4 : byte & 15) + fifth) - least * m);
      }
    }
  return y;
}

/** ggml writes two runs of 128 numbers, four at a time 32 apart. */
function q6k(b: Uint8Array): number[] {
  const d = half(b, 208);
  const y = new Array<number>(256);
  for (const run of [0, 1])
    for (let l = 0; l < 32; l += 1) {
      const [low, far, high] = [b[64 * run + l]!, b[64 * run + l + 32]!, b[128 + 32 * run + l]!];
      const q = [
        (low & 15) | ((high & 3) << 4),
        (far & 15) | (((high >> 2) & 3) << 4),
        (low >> 4) | (((high >> 4) & 3) << 4),
        (far >> 4) | ((high >> 6) << 4),
      ];
      q.forEach((value, quarter) => {
        const at = 128 * run + 32 * quarter + l;
        y[at] = d * int8(b[192 + Math.floor(at / 16)]!) * (value - 32);
      });
    }
  return y;
}

const BLOCK: Readonly<Record<BlockType, (b: Uint8Array) => number[]>> = {
  Q4_0: (b) => nibbles(b, 2).map((q) => half(b, 0) * (q - 8)),
  Q4_1: (b) => nibbles(b, 4).map((q) => half(b, 0) * q + half(b, 2)),
  Q5_0: (b) => nibbles(b, 6, 2).map((q) => half(b, 0) * (q - 16)),
  Q5_1: (b) => nibbles(b, 8, 4).map((q) => half(b, 0) * q + half(b, 2)),
  Q8_0: (b) => Array.from(b.subarray(2), (q) => half(b, 0) * int8(q)),
  Q4_K: (b) => kBlock(b, undefined, 16),
  Q5_K: (b) => kBlock(b, 16, 48),
  Q6_K: q6k,
};

export function dequantise(type: BlockType, bytes: Uint8Array): Float64Array {
  const { bytes: step } = BLOCKS[type];
  return Float64Array.from(
    Array.from({ length: bytes.length / step }, (_, i) =>
      BLOCK[type](bytes.subarray(i * step, (i + 1) * step)),
    ).flat(),
  );
}
