/**
 * GPU memory: a pool of recycled buffers, and scopes that own what is alive.
 *
 * Work runs in the order in which it is recorded, so a buffer may go back to the pool as soon as its last use is
 * recorded; whoever takes it next is recorded later. Only writes from the CPU jump that queue, which is why
 * `Gpu.write` submits what is pending first.
 */
import { GpuError, ShapeError } from '../errors.ts';

/** A piece of GPU memory with an owner. `bytes` is what was asked for; the GPU buffer may be larger. */
export interface Block {
  /** Absent while what was derived from the block holds its contents alone. */
  buffer: GPUBuffer | undefined;
  readonly bytes: number;
  readonly label: string;
  /** Recorded writes so far; what was derived from the contents is stale once this has moved on. */
  writes: number;
  /** A copy in another order, made by an op that reads the contents often; it ends with the block. */
  derived?: Derived | undefined;
}

/** What a kernel sees: a range of a block. A `Tensor` is one. */
export interface View {
  readonly block: Block;
  readonly offset: number;
  readonly bytes: number;
}

export interface Derived {
  /** `Block.writes` at the time. */
  writes: number;
  /** Says what was made, so that an op tells its own from that of another. */
  readonly key: string;
  readonly bytes: number;
  /** Undefined: so far only asked for. */
  readonly texture: GPUTexture | undefined;
  /** Made once: a driver may compile code for every view. */
  readonly view?: GPUTextureView;
  /** Records what writes the block's contents back into its buffer. */
  readonly restore?: () => void;
}

const USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST

export class Pool {
  /** Bytes asked for and not yet returned. Tests assert that it comes back to where it began. */
  liveBytes = 0;
  /** Bytes that the pool keeps for reuse. */
  idleBytes = 0;

  readonly #device: GPUDevice;
  readonly #check: (pending: Promise<GpuError | undefined>) => void;
  readonly #adapter: string;
  readonly #idle = new Map<number, GPUBuffer[]>();
  readonly #idleLimit: number;
  /** Bytes of textures that hold what a buffer holds too. */
  derivedBytes = 0;
  readonly #doomed: (GPUBuffer | GPUTexture)[] = [];

  /** @param adapter what messages call it */
  constructor(
    device: GPUDevice,
    check: (pending: Promise<GpuError | undefined>) => void,
    adapter: string,
    idleLimit = 256 * 2 ** 20,
  ) {
    this.#device = device;
    this.#check = check;
    this.#adapter = adapter;
    this.#idleLimit = idleLimit;
  }

  take(bytes: number, label: string): Block {
    const buffer = this.#buffer(bytes, label);
    this.liveBytes += bytes;
    return { buffer, bytes, label, writes: 0 };
  }

  #buffer(bytes: number, label: string): GPUBuffer {
    const size = bucket(bytes);
    const idle = this.#idle.get(size)?.pop();
    if (idle) {
      this.idleBytes -= size;
      return idle;
    }
    this.#device.pushErrorScope('out-of-memory');
    this.#device.pushErrorScope('validation');
    const buffer = this.#device.createBuffer({ size, usage: USAGE, label });
    for (const scope of [this.#device.popErrorScope(), this.#device.popErrorScope()]) {
      this.#check(
        scope.then((error) => (error ? this.#outOfMemory(bytes, label, error.message) : undefined)),
      );
    }
    return buffer;
  }

  #outOfMemory(bytes: number, label: string, message: string): GpuError {
    const mib = (n: number): string => `${(n / 2 ** 20).toFixed(1)} MiB`;
    return new GpuError(
      `gpu: no room for "${label}" (${mib(bytes)}; ${mib(this.liveBytes)} are in use on ${this.#adapter}): ${message.split('\n')[0]} ` +
        'Use a smaller model, fewer contexts, or --weights f16.',
      'out_of_memory',
    );
  }

  /**
   * A texture, an array of layers that shaders write and read, for what `block` holds now, instead of whatever was
   * derived before.
   */
  derive(
    block: Block,
    key: string,
    size: readonly [number, number, number],
    restore: () => void,
  ): GPUTextureView {
    this.forget(block);
    const bytes = size[0] * size[1] * size[2] * 16;
    this.#device.pushErrorScope('out-of-memory');
    const texture = this.#device.createTexture({
      label: `${block.label} ${key}`,
      size: [...size],
      format: 'rgba32uint',
      usage: 0x0c, // TEXTURE_BINDING, STORAGE_BINDING
    });
    const failed = this.#device.popErrorScope();
    this.#check(failed.then((e) => (e ? this.#outOfMemory(bytes, block.label, e.message) : undefined)));
    this.derivedBytes += bytes;
    const view = texture.createView({ dimension: '2d-array' });
    block.derived = { writes: block.writes, key, bytes, texture, view, restore };
    return view;
  }

  /** Gives up a block's buffer: from here on its contents lie in what was derived from it alone. */
  spare(block: Block): void {
    const { buffer, derived } = block;
    if (!buffer || !derived?.texture || derived.writes !== block.writes)
      throw new ShapeError(`pool: nothing else holds what "${block.label}" holds.`);
    this.#doomed.push(buffer);
    block.buffer = undefined;
    this.derivedBytes -= derived.bytes;
  }

  /** The buffer of a block, with its contents, wherever they lay. */
  bufferOf(block: Block): GPUBuffer {
    if (block.buffer) return block.buffer;
    const { derived } = block;
    block.buffer = this.#buffer(block.bytes, block.label);
    if (derived) {
      this.derivedBytes += derived.bytes;
      derived.restore?.();
      derived.writes = block.writes; // what was written is what it holds
    }
    return block.buffer;
  }

  /** Ends what was derived from `block`. */
  forget(block: Block): void {
    if (!block.derived) return;
    if (block.buffer) this.derivedBytes -= block.derived.bytes;
    if (block.derived.texture) this.#doomed.push(block.derived.texture);
    block.derived = undefined;
  }

  give(block: Block): void {
    this.forget(block);
    this.liveBytes -= block.bytes;
    if (!block.buffer) return;
    const size = block.buffer.size;
    if (size > this.#idleLimit) {
      this.#doomed.push(block.buffer);
      return;
    }
    const list = this.#idle.get(size) ?? [];
    this.#idle.delete(size); // the map is ordered by when a size was last returned
    this.#idle.set(size, list);
    list.push(block.buffer);
    this.idleBytes += size;
    this.#makeRoom();
  }

  /** Over the limit, the sizes go that nobody returned for longest: those of prompts gone by, say. */
  #makeRoom(): void {
    for (const [size, list] of this.#idle) {
      while (this.idleBytes > this.#idleLimit) {
        const buffer = list.pop();
        if (!buffer) break;
        this.#doomed.push(buffer);
        this.idleBytes -= size;
      }
      if (this.idleBytes <= this.#idleLimit) return;
      this.#idle.delete(size);
    }
  }

  /** Destroys what was over the limit; to be called after a submit, since pending work may still read it. */
  bury(): void {
    for (const buffer of this.#doomed.splice(0)) buffer.destroy();
  }

  /** Gives the memory kept for reuse back to the system. */
  drain(): void {
    this.bury();
    for (const list of this.#idle.values()) for (const buffer of list) buffer.destroy();
    this.#idle.clear();
    this.idleBytes = 0;
  }
}

/** Dawn takes what is smaller out of large pieces, each rounded to a power of two. */
const SMALL = 4 * 2 ** 20;

/**
 * Rounds up, so that close sizes share buffers: to a power of two where Dawn does so anyway, else to one of eight sizes an
 * octave, which wastes an eighth at most. With many sizes, prompts of changing lengths would slowly riddle Dawn's pieces.
 */
function bucket(bytes: number): number {
  const octave = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
  if (octave <= SMALL) return octave;
  const step = octave / 16;
  return Math.ceil(bytes / step) * step;
}
