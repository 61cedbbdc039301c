/** Numbers out of the blocks of a GGUF file, on the device, from the file's own bytes. */
import { type BlockType, BLOCKS } from '../blocks.ts';
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty } from './tensor.ts';

/** Which of the shader's formats each kind of block is. */
export const FORMATS: Readonly<Record<BlockType, Readonly<Record<'KIND' | 'FIVE' | 'MIN', number>>>> = {
  Q4_0: { KIND: 0, FIVE: 0, MIN: 0 },
  Q4_1: { KIND: 0, FIVE: 0, MIN: 1 },
  Q5_0: { KIND: 0, FIVE: 1, MIN: 0 },
  Q5_1: { KIND: 0, FIVE: 1, MIN: 1 },
  Q8_0: { KIND: 1, FIVE: 0, MIN: 0 },
  Q4_K: { KIND: 2, FIVE: 0, MIN: 0 },
  Q5_K: { KIND: 2, FIVE: 1, MIN: 0 },
  Q6_K: { KIND: 3, FIVE: 0, MIN: 0 },
};

/**
 * @param packed u32, the bytes of whole blocks
 * @param n      numbers in them
 * @returns      [n] f32
 * @throws ShapeError when `packed` does not hold so many
 */
export function dequantise(s: Scope, packed: Tensor, n: number, type: BlockType): Tensor {
  const { elements, bytes } = BLOCKS[type];
  if (n % elements !== 0 || (n / elements) * bytes > packed.bytes)
    throw new ShapeError(
      `dequantise: ${n} numbers of ${type} take blocks of ${elements} in ${bytes} bytes; "${packed.label}" has ${packed.bytes} bytes.`,
    );
  const y = empty(s, [n], packed.label);
  const grid = { threads: n, overrides: FORMATS[type], cost: { flops: 2 * n, bytes: 5 * n } };
  s.gpu.run('tensor/dequantise', { packed, y }, { n }, grid);
  return y;
}
