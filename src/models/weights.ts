/**
 * A checkpoint's tensors on the GPU, under their Hugging Face names.
 *
 * They go over chunk by chunk, as stored, and are widened there; no second copy of a tensor is ever held in
 * JavaScript.
 */
import { ModelError } from '../errors.ts';
import { isBlockType, largestOf, unitOf } from '../blocks.ts';
import { isFloatDtype, widen as widenOnCpu } from '../floats.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { drawInto, narrow, widen } from '../tensor/elementwise.ts';
import { matmul } from '../tensor/matmul.ts';
import { keepInStrips, lastInStrips } from '../tensor/strips.ts';
import { type Dtype, Tensor, bytesOf, empty, read, upload } from '../tensor/tensor.ts';
import type { TensorSpec, Weights } from './architecture.ts';
import type { Checkpoint } from './checkpoint.ts';
import { ropeFrequencies, ropeTable } from './rope.ts';

export interface LoadOptions {
  /**
   * How matrices are stored; arithmetic is f32 either way. `f16` stands for 16 bits: tensors that the file has in F16 or
   * BF16 stay what they are, bit for bit, and F32 is rounded to F16. Default f32.
   */
  readonly storage?: 'f32' | 'f16';
  /** Layers whose edited weight stays f32 whatever the storage, and a plain matrix: those that will be edited. */
  readonly editable?: readonly number[];
  /** Called with bytes of weights. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

const CHUNK_BYTES = 16 * 2 ** 20;

/** Of whole blocks of few bits as many as are a chunk when they are f32. */
function chunkBytes({ elements, bytes }: { readonly elements: number; readonly bytes: number }): number {
  return elements === 1 ? CHUNK_BYTES : Math.floor(CHUNK_BYTES / 4 / elements) * bytes;
}

/** Uploads are waited for this often, so that the queue's own staging copies stay small. */
const SYNC_BYTES = 4 * CHUNK_BYTES;

/** Loads all weights into `owner`. @throws ModelError where a tensor does not have the numbers of its shape */
export async function loadWeights(
  owner: Scope,
  checkpoint: Checkpoint,
  options: LoadOptions = {},
): Promise<Weights> {
  const { architecture, tensors } = checkpoint;
  const { storage = 'f32', editable = [] } = options;
  const { layout } = architecture.editedWeight(0); // all matrices of an architecture lie alike
  const edited = new Set(editable.map((layer) => architecture.editedWeight(layer).name));
  const total = tensors.names().reduce((sum, name) => sum + tensors.info(name).bytes, 0);
  let done = 0;
  let unsynced = 0;

  /** Loads a tensor of the file into `t`. */
  const load = async (name: string, t: Tensor): Promise<void> => {
    const { dtype } = tensors.info(name);
    const unit = unitOf(dtype);
    let at = 0; // elements
    for await (const chunk of tensors.chunks(name, chunkBytes(unit))) {
      options.signal?.throwIfAborted();
      await place(owner.gpu, t, at, chunk, dtype);
      at += (chunk.byteLength / unit.bytes) * unit.elements;
      done += chunk.byteLength;
      unsynced += chunk.byteLength;
      if (unsynced >= SYNC_BYTES) {
        await owner.gpu.sync();
        unsynced = 0;
      }
      options.onProgress?.(done, total);
    }
    if (at !== t.size) throw new ModelError(`weights: "${name}" gave ${at} numbers, expected ${t.size}.`);
  };
  const loaded = new Map<string, Tensor>();
  for (const [name, spec] of architecture.tensors) {
    const plain = spec.use === 'vector' || edited.has(name);
    const weight = empty(owner, spec.shape, name, plain ? 'f32' : dtypeFor(name, spec, checkpoint, storage));
    if (checkpoint.drawn === undefined || spec.use === 'vector')
      for (const [part, t] of partsOf(name, spec, weight)) await load(part, t);
    else {
      drawInto(owner, weight, checkpoint.drawn * 1009 + loaded.size, DEVIATION);
      done += 4 * weight.size; // of the bytes that it stands for
      await owner.gpu.sync();
      options.onProgress?.(done, total);
    }
    if (spec.use === 'products' && !plain) keepInStrips(owner, weight, layout);
    else if (spec.use === 'products') lastInStrips(weight, layout);
    else if (spec.use === 'both') lastInStrips(weight, 'out-in'); // a table [V, D] is the head, too
    loaded.set(name, weight);
  }
  const { rope, dims } = architecture;
  if (rope) {
    const table = ropeTable(ropeFrequencies(rope), dims.context);
    loaded.set('rope', upload(owner, table, [dims.context, rope.dimensions], 'rope'));
  }
  await owner.gpu.sync();
  if ([...loaded.values()].some(({ dtype }) => dtype === 'f16')) await checkSubnormals(owner.gpu);
  return (name) => {
    const found = loaded.get(name);
    if (!found) throw new RangeError(`model ${checkpoint.id}: there is no tensor "${name}".`);
    return found;
  };
}

/** What a matrix is stored as: in 16 bits without a loss where the file has 16, so BF16 never goes through F16. */
function dtypeFor(
  name: string,
  { parts }: TensorSpec,
  { tensors }: Checkpoint,
  storage: 'f32' | 'f16',
): Dtype {
  if (storage === 'f32') return 'f32';
  const stored = (parts ?? [{ name }]).map((part) => tensors.info(part.name).dtype);
  if (!stored.includes('BF16')) return 'f16';
  return stored.every((dtype) => dtype === 'BF16') ? 'bf16' : 'f32';
}

/** The stored tensors that make up `weight`, and the rows of it where each goes. */
function partsOf(name: string, { shape, parts }: TensorSpec, weight: Tensor): [string, Tensor][] {
  if (!parts) return [[name, weight]];
  const rest = shape.slice(1);
  const width = rest.reduce((product, n) => product * n, 1);
  let row = 0;
  return parts.map((part) => {
    const offset = weight.offset + row * width * bytesOf(weight.dtype);
    row += part.rows;
    return [part.name, new Tensor(weight.block, [part.rows, ...rest], weight.dtype, offset)];
  });
}

/** Puts a chunk of elements into `t` from element `at` on, converting where storage and file differ. */
async function place(
  gpu: Gpu,
  t: Tensor,
  at: number,
  chunk: Uint8Array<ArrayBuffer>,
  dtype: string,
): Promise<void> {
  if (dtype.toLowerCase() === t.dtype) {
    gpu.write(t, chunk, at * bytesOf(t.dtype));
    return;
  }
  checkRange(t, chunk, dtype);
  const s = gpu.open();
  const unit = unitOf(dtype);
  const n = (chunk.byteLength / unit.bytes) * unit.elements;
  const raw = empty(s, [Math.ceil(chunk.byteLength / 4)], 'chunk', 'u32');
  gpu.write(raw, chunk.byteLength % 4 === 0 ? chunk : padded(chunk));
  const wide = await wideOf(s, raw, n, dtype);
  // Not written in place: rows of a stacked tensor may begin where no binding can.
  const made = t.dtype === 'f16' ? narrow(s, wide) : wide;
  const target = new Tensor(t.block, [n], t.dtype, t.offset + at * bytesOf(t.dtype));
  gpu.copy(made, target);
  s.close();
}

/** The numbers of a chunk in f32, made on the device. */
async function wideOf(s: Scope, raw: Tensor, n: number, dtype: string): Promise<Tensor> {
  // Few models have blocks of a few bits.
  if (isBlockType(dtype)) return (await import('../tensor/dequantise.ts')).dequantise(s, raw, n, dtype);
  if (dtype === 'F32') return new Tensor(raw.block, [n]);
  const wide = empty(s, [n], 'chunk');
  widen(s, raw, wide, dtype === 'F16' ? 'f16' : 'bf16');
  return wide;
}

/** Of weights that are drawn instead of read, GPT-2's. */
export const DEVIATION = 0.02;

/** From here on a number is infinite in F16. */
const BEYOND_F16 = 65_520;

/**
 * An infinity in a weight is never silent.
 *
 * @throws ModelError when a number of a chunk is too large for F16, or the scale of a block is no number
 */
function checkRange({ label, dtype: stored }: Tensor, chunk: Uint8Array<ArrayBuffer>, dtype: string): void {
  const beyond = (x: number): ModelError =>
    new ModelError(
      `weights: "${label}" has ${x}, and F16 ends at 65,504. Load the model with --weights f32.`,
      'beyond_f16',
    );
  if (isBlockType(dtype)) {
    const largest = largestOf(dtype, chunk);
    if (largest === Infinity)
      throw new ModelError(
        `weights: "${label}" ${dtype}: expected blocks with finite scales, found one that is infinite or no number: it is damaged. Fetch the file again.`,
        'bad_block',
      );
    if (stored === 'f16' && largest >= BEYOND_F16) throw beyond(largest);
  } else if (stored === 'f16' && isFloatDtype(dtype))
    for (const x of widenOnCpu(dtype, chunk))
      if (Math.abs(x) >= BEYOND_F16 && Number.isFinite(x)) throw beyond(x);
}

/**
 * WGSL lets an adapter read the smallest halves as zero, which the software adapters that the tests run on do not.
 *
 * @throws ModelError where it does: weights below 6e-5 would be lost without a word
 */
async function checkSubnormals(gpu: Gpu): Promise<void> {
  if (gpu.adapter.kind === 'software') return;
  const smallest = 2 ** -24;
  const found = await gpu.scope(async (s) => {
    const words = upload(s, Uint32Array.of(1, 0, 0, 0), [4], 'smallest_half');
    const ones = upload(s, new Float32Array(8).fill(1), [1, 8], 'ones');
    return (await read(gpu, matmul(s, ones, new Tensor(words.block, [8, 1], 'f16'))))[0];
  });
  if (found !== smallest)
    throw new ModelError(
      `weights: ${gpu.adapter.description} reads the smallest F16 numbers as ${found}, expected ${smallest}. Load the model with --weights f32.`,
      'subnormals',
    );
}

function padded(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(Math.ceil(chunk.byteLength / 4) * 4);
  whole.set(chunk);
  return whole;
}
