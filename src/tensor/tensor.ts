/** A tensor: a shape, a type and a range of GPU memory. Row-major; the last dimension is contiguous. */
import { ShapeError } from '../errors.ts';
import type { Block, View } from '../gpu/buffers.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';

/** `f16`, `bf16`: stored as two halves in each 32-bit word, computed with in f32. */
export type Dtype = 'f32' | 'u32' | 'f16' | 'bf16';

export class Tensor implements View {
  readonly block: Block;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: Dtype;

  constructor(block: Block, shape: readonly number[], dtype: Dtype = 'f32', offset = 0) {
    this.block = block;
    this.shape = shape;
    this.dtype = dtype;
    this.offset = offset;
  }

  get label(): string {
    return this.block.label;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  get bytes(): number {
    return this.size * bytesOf(this.dtype);
  }

  /** Length of the last dimension. */
  get cols(): number {
    return this.shape.at(-1) ?? 1;
  }

  /** All dimensions but the last, as one. */
  get rows(): number {
    return this.shape.slice(0, -1).reduce((product, n) => product * n, 1);
  }

  /** Rows `from` up to but without `to`, without a copy. Its first byte must lie on a binding offset. */
  slice(from: number, to: number): Tensor {
    if (from < 0 || to > this.rows || from > to)
      throw new ShapeError(`slice: rows ${from}..${to} of "${this.label}" [${this.shape.join(', ')}].`);
    const offset = this.offset + from * this.cols * bytesOf(this.dtype);
    return new Tensor(this.block, [to - from, this.cols], this.dtype, offset);
  }

  /** The same elements under another shape. */
  reshape(...shape: number[]): Tensor {
    const view = new Tensor(this.block, shape, this.dtype, this.offset);
    if (view.size !== this.size)
      throw new ShapeError(`reshape: "${this.label}" [${this.shape.join(', ')}] to [${shape.join(', ')}].`);
    return view;
  }
}

export function bytesOf(dtype: Dtype): number {
  return isHalf(dtype) ? 2 : 4;
}

/** Two numbers of 16 bits share a word. */
export function isHalf(dtype: Dtype): dtype is 'f16' | 'bf16' {
  return dtype === 'f16' || dtype === 'bf16';
}

/** What shaders call `HALF`: how weights are stored. */
export function halfCode(dtype: Dtype): 0 | 1 | 2 {
  return dtype === 'f16' ? 1 : dtype === 'bf16' ? 2 : 0;
}

/** Uninitialised memory: whoever made the buffer before left its numbers there. */
export function empty(s: Scope, shape: readonly number[], label: string, dtype: Dtype = 'f32'): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  return new Tensor(s.alloc(size * bytesOf(dtype), label), shape, dtype);
}

export function zeros(s: Scope, shape: readonly number[], label: string): Tensor {
  const t = empty(s, shape, label);
  s.gpu.clear(t);
  return t;
}

export function upload(
  s: Scope,
  data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
  shape: readonly number[],
  label: string,
): Tensor {
  const t = empty(s, shape, label, data instanceof Uint32Array ? 'u32' : 'f32');
  if (t.size !== data.length)
    throw new ShapeError(
      `upload: "${label}" [${shape.join(', ')}] takes ${t.size} numbers, got ${data.length}.`,
    );
  s.gpu.write(t, data);
  return t;
}

/** Row numbers or token ids as u32 [n]. */
export function indices(s: Scope, list: readonly number[], label: string): Tensor {
  return upload(s, Uint32Array.from(list), [list.length], label);
}

/** A copy in the same or another scope. */
export function copy(s: Scope, t: Tensor, label = t.label): Tensor {
  const made = empty(s, t.shape, label, t.dtype);
  s.gpu.copy(t, made);
  return made;
}

export async function read(gpu: Gpu, t: Tensor): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array(await gpu.readBytes(t));
}

export async function readU32(gpu: Gpu, t: Tensor): Promise<Uint32Array<ArrayBuffer>> {
  return new Uint32Array(await gpu.readBytes(t));
}

/**
 * Splits `rows` rows of `rowBytes` bytes into windows that one binding can hold. Every window begins on a legal
 * offset, at a multiple of 64 rows, so that kernels may read several rows at once.
 */
export function windows(gpu: Gpu, rows: number, rowBytes: number): [from: number, to: number][] {
  let align = 64;
  while ((align * rowBytes) % gpu.device.limits.minStorageBufferOffsetAlignment !== 0) align *= 2;
  const most = Math.max(align, Math.floor(gpu.maxBindingBytes / rowBytes / align) * align);
  const list: [number, number][] = [];
  for (let from = 0; from < rows; from += most) list.push([from, Math.min(rows, from + most)]);
  return list;
}
