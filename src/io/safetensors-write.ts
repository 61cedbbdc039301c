/** Writes safetensors files, one tensor at a time: a whole checkpoint never has to be in memory. */
import { ShapeError } from '../errors.ts';
import { type AtomicOptions, writeAtomic } from './atomic.ts';
import { type Dtype, ITEM_BYTES } from './safetensors-header.ts';

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** The bytes, or a function called when their turn comes, giving them in pieces. */
  readonly data: Uint8Array | (() => AsyncIterable<Uint8Array>);
}

export interface SafetensorsOptions extends AtomicOptions {
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes a file, whole or not at all.
 *
 * Tensors are laid out as the format's own writer does, wide elements first and then by name, so that each starts at a
 * multiple of its element and the same tensors always give the same bytes.
 *
 * @throws ShapeError if a tensor's bytes are not those of its shape, or a name comes twice
 * @throws UsageError if the folder cannot be written to or is full; whatever a `data` function throws is passed on
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: SafetensorsOptions = {},
): Promise<void> {
  const ordered = [...tensors].sort(
    (a, b) => ITEM_BYTES[b.dtype] - ITEM_BYTES[a.dtype] || (a.name < b.name ? -1 : 1),
  );
  const header = headerBytes(path, ordered, options.metadata);
  await writeAtomic(
    path,
    async (write) => {
      await write(header);
      for (const tensor of ordered) {
        const expected = tensorBytes(tensor);
        let got = 0;
        for await (const piece of tensor.data instanceof Uint8Array ? [tensor.data] : tensor.data()) {
          got += piece.length;
          if (got > expected) break;
          await write(piece);
        }
        if (got !== expected) throw wrongSize(path, tensor, expected, got);
      }
    },
    options,
  );
}

function headerBytes(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  const fields = new Map<string, unknown>();
  if (metadata && Object.keys(metadata).length > 0) fields.set('__metadata__', metadata);
  let start = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (name === '__metadata__' || fields.has(name)) {
      throw new ShapeError(`write ${path}: expected every tensor name once, "${name}" is taken. Rename it.`);
    }
    const end = start + tensorBytes(tensor);
    fields.set(name, { dtype, shape, data_offsets: [start, end] });
    start = end;
  }
  const json = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const text = new TextEncoder().encode(`{${json.join(',')}}`);
  const padded = Math.ceil(text.length / 8) * 8; // spaces up to a multiple of 8 keep the tensors aligned
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(text, 8);
  return out;
}

function tensorBytes({ dtype, shape }: TensorToWrite): number {
  return shape.reduce((product, n) => product * n, ITEM_BYTES[dtype]);
}

function wrongSize(path: string, tensor: TensorToWrite, expected: number, got: number): ShapeError {
  const came = got > expected ? `more came` : `only ${got} came`;
  return new ShapeError(
    `write ${path}: tensor "${tensor.name}" ${tensor.dtype} [${tensor.shape.join(', ')}] takes ${expected} bytes, but ${came}. ` +
      'Give each tensor the bytes of its shape.',
  );
}
