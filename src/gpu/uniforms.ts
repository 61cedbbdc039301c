/**
 * Params of many dispatches in one buffer: slots are filled on the CPU while dispatches are recorded and uploaded
 * once, just before the submit that uses them. Submitted work keeps reading its own copy in queue order.
 */
const SLOT_BYTES = 256; // minUniformBufferOffsetAlignment's default
const SLOTS = 1024;

export interface Slot {
  readonly offset: number;
  readonly data: DataView;
}

export class UniformRing {
  readonly #device: GPUDevice;
  /** Where the slots lie. */
  readonly buffer: GPUBuffer;
  readonly #bytes = new Uint8Array(SLOT_BYTES * SLOTS);
  #used = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.buffer = device.createBuffer({
      size: this.#bytes.byteLength,
      usage: 0x40 | 0x08 /* UNIFORM | COPY_DST */,
      label: 'params',
    });
  }

  /** The next free slot, or undefined when the ring is full and must be submitted first. */
  slot(bytes: number): Slot | undefined {
    const size = Math.ceil(bytes / SLOT_BYTES) * SLOT_BYTES;
    if (this.#used + size > this.#bytes.byteLength) return undefined;
    const offset = this.#used;
    this.#used += size;
    return { offset, data: new DataView(this.#bytes.buffer, offset, size) };
  }

  /** Call right before the submit. `writeBuffer` is ordered on the queue, so slots may be reused right after. */
  upload(): void {
    if (this.#used > 0) this.#device.queue.writeBuffer(this.buffer, 0, this.#bytes, 0, this.#used);
    this.#used = 0;
  }
}
