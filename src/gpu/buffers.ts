/**
 * GPU memory: a pool of recycled buffers, and scopes that own what is alive.
 *
 * Work runs in the order in which it is recorded, so a buffer may go back to the pool as soon as its last use is
 * recorded; whoever takes it next is recorded later. Only writes from the CPU jump that queue, which is why
 * `Gpu.write` submits what is pending first.
 */
import type { GpuError } from '../errors.ts';

/** A piece of GPU memory with an owner. `bytes` is what was asked for; the GPU buffer may be larger. */
export interface Block {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  readonly label: string;
}

const USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST

export class Pool {
  /** Bytes asked for and not yet returned. Tests assert that it comes back to where it began. */
  liveBytes = 0;
  /** The highest `liveBytes` so far. */
  peakBytes = 0;
  /** Bytes that the pool keeps for reuse. */
  idleBytes = 0;

  readonly #device: GPUDevice;
  readonly #check: (pending: Promise<GpuError | undefined>) => void;
  readonly #outOfMemory: (bytes: number, label: string, message: string) => GpuError;
  readonly #idle = new Map<number, GPUBuffer[]>();
  readonly #idleLimit: number;
  readonly #doomed: GPUBuffer[] = [];

  constructor(
    device: GPUDevice,
    check: (pending: Promise<GpuError | undefined>) => void,
    outOfMemory: (bytes: number, label: string, message: string) => GpuError,
    idleLimit = 256 * 2 ** 20,
  ) {
    this.#device = device;
    this.#check = check;
    this.#outOfMemory = outOfMemory;
    this.#idleLimit = idleLimit;
  }

  take(bytes: number, label: string): Block {
    const size = bucket(bytes);
    let buffer = this.#idle.get(size)?.pop();
    if (buffer) this.idleBytes -= size;
    else {
      this.#device.pushErrorScope('out-of-memory');
      this.#device.pushErrorScope('validation');
      buffer = this.#device.createBuffer({ size, usage: USAGE, label });
      for (const scope of [this.#device.popErrorScope(), this.#device.popErrorScope()]) {
        this.#check(
          scope.then((error) => (error ? this.#outOfMemory(bytes, label, error.message) : undefined)),
        );
      }
    }
    this.liveBytes += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return { buffer, bytes, label };
  }

  give(block: Block): void {
    const size = block.buffer.size;
    this.liveBytes -= block.bytes;
    if (this.idleBytes + size > this.#idleLimit) {
      this.#doomed.push(block.buffer);
      return;
    }
    const list = this.#idle.get(size) ?? [];
    this.#idle.set(size, list);
    list.push(block.buffer);
    this.idleBytes += size;
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

/** Rounds up to one of eight sizes an octave, so that close sizes share buffers and at most an eighth is wasted. */
function bucket(bytes: number): number {
  const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 3));
  return Math.ceil(Math.max(bytes, 4) / step) * step;
}
