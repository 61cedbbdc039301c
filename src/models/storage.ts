/** How a model's weights are to be stored, chosen and refused before a byte of them is read. */
import { ModelError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Checkpoint } from './checkpoint.ts';

export const STORAGES = ['auto', 'f32', 'f16'] as const;
/** `f16` stands for 16 bits: see `LoadOptions`. */
export type Storage = Exclude<(typeof STORAGES)[number], 'auto'>;

export interface ChosenStorage {
  readonly storage: Storage;
  /** Bytes of all weights on the device. */
  readonly bytes: number;
  /** Why it is 16 bits, where nobody asked for them. */
  readonly reason: string | undefined;
}

interface Given {
  readonly wanted: 'auto' | Storage | undefined;
  /** Layers whose edited weight stays f32. */
  readonly editable: readonly number[];
  /** Bytes that this process may still take, where weights lie in the memory of the machine. */
  readonly free: number;
}

/** Up to so many bytes f32 is taken without looking, so that small models compute the same everywhere. */
const SMALL = 2 ** 30;
/** What a GPU of unknown memory is trusted to hold. */
const GPU_BYTES = 4 * 2 ** 30;
/** Beside its weights a model wants room for what it computes: a part of them, and something in any case. */
const BESIDE = { part: 0.08, bytes: 2 ** 28 };

/**
 * `auto` takes f32 where that fits, and 16 bits where it does not.
 *
 * WebGPU does not tell how much memory a GPU has: there, large models are stored in 16 bits, and what exceeds the memory
 * is told by the adapter. A software adapter computes in the machine's memory, and what does not fit is refused.
 *
 * @throws ModelError `too_large`, with the bytes that 16 bits would take
 */
export function chooseStorage(
  { adapter }: Pick<Gpu, 'adapter'>,
  checkpoint: Checkpoint,
  { wanted = 'auto', editable, free }: Given,
): ChosenStorage {
  const f32 = weightBytes(checkpoint, 'f32', editable);
  const f16 = weightBytes(checkpoint, 'f16', editable);
  const software = adapter.kind === 'software';
  const fits = (bytes: number): boolean =>
    bytes <= SMALL || (software ? bytes * (1 + BESIDE.part) + BESIDE.bytes <= free : bytes <= GPU_BYTES);
  const storage = wanted === 'auto' ? (fits(f32) ? 'f32' : 'f16') : wanted;
  const bytes = storage === 'f32' ? f32 : f16;
  if (software && !fits(bytes)) {
    const advice =
      storage === 'f32' && fits(f16)
        ? `With --weights f16 it takes ${gigabytes(f16)}.`
        : storage === 'f32'
          ? `With --weights f16 it takes ${gigabytes(f16)}, which is too much as well: free some memory, or use a smaller model.`
          : 'Free some memory, or use a smaller model.';
    throw new ModelError(
      `model ${checkpoint.id}: its weights take ${gigabytes(bytes)} in ${storage}, and ${gigabytes(free)} of memory are free. ${advice}`,
      'too_large',
    );
  }
  const limit = software ? `of ${gigabytes(free)} free` : 'of an adapter that does not tell its memory';
  const reason =
    wanted === 'auto' && storage === 'f16' ? `f32 would take ${gigabytes(f32)} ${limit}` : undefined;
  return { storage, bytes, reason };
}

function weightBytes({ architecture }: Checkpoint, storage: Storage, editable: readonly number[]): number {
  const edited = new Set(editable.map((layer) => architecture.editedWeight(layer).name));
  let bytes = 0;
  for (const [name, { shape, use }] of architecture.tensors) {
    const plain = storage === 'f32' || use === 'vector' || edited.has(name);
    bytes += shape.reduce((product, n) => product * n, plain ? 4 : 2);
  }
  return bytes;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
