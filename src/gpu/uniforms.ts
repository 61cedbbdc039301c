/**
 * Params of many dispatches in one buffer: slots are filled on the CPU while dispatches are recorded and uploaded
 * once, just before the submit that uses them. Submitted work keeps reading its own copy in queue order.
 */
import { ShapeError } from '../errors.ts';
import type { Kernel } from './kernel.ts';

const SLOT_BYTES = 256; // minUniformBufferOffsetAlignment's default
const SLOTS = 1024;

export class UniformRing {
  readonly #device: GPUDevice;
  /** Where the slots lie. */
  readonly buffer: GPUBuffer;
  readonly #bytes = new Uint8Array(SLOT_BYTES * SLOTS);
  readonly #data = new DataView(this.#bytes.buffer);
  readonly #submit: () => void;
  #used = 0;

  /** @param submit what is recorded so far, `upload` before it: the ring is full */
  constructor(device: GPUDevice, submit: () => void) {
    this.#device = device;
    this.#submit = submit;
    this.buffer = device.createBuffer({
      size: this.#bytes.byteLength,
      usage: 0x40 | 0x08 /* UNIFORM | COPY_DST */,
      label: 'params',
    });
  }

  /** Writes the Params of one dispatch, 4 bytes a field, and returns their offset. @throws ShapeError for too many */
  fill({ name, paramBytes, reflection }: Kernel, params: Readonly<Record<string, number>>): number {
    const size = Math.ceil(paramBytes / SLOT_BYTES) * SLOT_BYTES;
    if (size > this.#bytes.byteLength)
      throw new ShapeError(`${name}: Params of ${paramBytes} bytes exceed the uniform ring.`);
    if (this.#used + size > this.#bytes.byteLength) this.#submit();
    const offset = this.#used;
    this.#used += size;
    reflection.params.forEach((field, i) => {
      const value = params[field.name] as number;
      if (field.type === 'f32') this.#data.setFloat32(offset + 4 * i, value, true);
      else if (field.type === 'u32') this.#data.setUint32(offset + 4 * i, value, true);
      else this.#data.setInt32(offset + 4 * i, value, true);
    });
    return offset;
  }

  /** Call right before the submit. `writeBuffer` is ordered on the queue, so slots may be reused right after. */
  upload(): void {
    if (this.#used > 0) this.#device.queue.writeBuffer(this.buffer, 0, this.#bytes, 0, this.#used);
    this.#used = 0;
  }
}
