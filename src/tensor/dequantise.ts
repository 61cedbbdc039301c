/** Numbers out of the blocks of a GGUF file, on the device, from the file's own bytes. */
import { BLOCKS } from '../blocks.ts';
import type { BlockType } from '../blocks.ts';
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** The kernel of each kind of block. */
export const DEQUANTISE: Readonly<Record<BlockType, { kernel: string; overrides: Record<string, number> }>> =
  {
    Q4_0: { kernel: 'tensor/dequantise_32', overrides: { FIVE: 0, MIN: 0 } },
    Q4_1: { kernel: 'tensor/dequantise_32', overrides: { FIVE: 0, MIN: 1 } },
    Q5_0: { kernel: 'tensor/dequantise_32', overrides: { FIVE: 1, MIN: 0 } },
    Q5_1: { kernel: 'tensor/dequantise_32', overrides: { FIVE: 1, MIN: 1 } },
    Q8_0: { kernel: 'tensor/dequantise_q8_0', overrides: {} },
    Q4_K: { kernel: 'tensor/dequantise_k', overrides: { FIVE: 0 } },
    Q5_K: { kernel: 'tensor/dequantise_k', overrides: { FIVE: 1 } },
    Q6_K: { kernel: 'tensor/dequantise_q6_k', overrides: {} },
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
  const { kernel, overrides } = DEQUANTISE[type];
  s.gpu.run(kernel, { packed, y }, { n }, { threads: n, overrides, cost: { flops: 2 * n, bytes: 5 * n } });
  return y;
}
