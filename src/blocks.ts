/**
 * The block formats of GGUF that are read: a run of numbers with a scale, or two, in 16 bits, and a few bits for each.
 * `shaders/tensor/dequantise.wgsl` says what a block holds. Nothing here depends on a room.
 */

export interface BlockFormat {
  /** Numbers of a block, and its bytes. */
  readonly elements: number;
  readonly bytes: number;
  /** Where its halves lie, and the largest whole number that multiplies each: a number is at most their sum. */
  readonly scales: readonly (readonly [at: number, most: number])[];
}

const of = (elements: number, bytes: number, ...scales: [at: number, most: number][]): BlockFormat => ({
  elements,
  bytes,
  scales,
});

export const BLOCKS = {
  Q4_0: of(32, 18, [0, 8]),
  Q4_1: of(32, 20, [0, 15], [2, 1]),
  Q5_0: of(32, 22, [0, 16]),
  Q5_1: of(32, 24, [0, 31], [2, 1]),
  Q8_0: of(32, 34, [0, 128]),
  Q4_K: of(256, 144, [0, 63 * 15], [2, 63]),
  Q5_K: of(256, 176, [0, 63 * 31], [2, 63]),
  Q6_K: of(256, 210, [208, 128 * 32]),
} as const satisfies Record<string, BlockFormat>;

export type BlockType = keyof typeof BLOCKS;

export function isBlockType(type: string): type is BlockType {
  return Object.hasOwn(BLOCKS, type);
}

/** How many numbers, and in how many bytes, cannot be parted. */
export function unitOf(type: string): Pick<BlockFormat, 'elements' | 'bytes'> {
  if (isBlockType(type)) return BLOCKS[type];
  return { elements: 1, bytes: type === 'F32' ? 4 : 2 };
}

/**
 * The largest number that whole blocks can stand for.
 *
 * @returns Infinity where a scale is none: the block is damaged
 */
export function largestOf(type: BlockType, bytes: Uint8Array): number {
  const { bytes: step, scales } = BLOCKS[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let largest = 0;
  for (let block = 0; block + step <= bytes.length; block += step) {
    let bound = 0;
    for (const [at, most] of scales) bound += magnitude(view.getUint16(block + at, true)) * most;
    if (bound > largest) largest = bound;
  }
  return largest;
}

/** |x| of a half; Infinity for a NaN too. */
function magnitude(half: number): number {
  const [exponent, fraction] = [(half >> 10) & 0x1f, half & 0x3ff];
  if (exponent === 31) return Infinity;
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}
