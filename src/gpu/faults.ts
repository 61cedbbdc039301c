/** What goes wrong on a device. It is found out later, and told where a caller records or waits. */
import { GpuError } from '../errors.ts';

export class Faults {
  #checks: Promise<GpuError | undefined>[] = [];
  #failure: GpuError | undefined;
  #isOver = false;

  constructor(device: GPUDevice) {
    void device.lost.then((info) => {
      if (this.#isOver) return;
      this.#failure = new GpuError(
        `gpu: the device was lost (${info.reason || 'unknown'}): ${info.message} Nothing more was computed; run the command again, if need be with --adapter.`,
        'device_lost',
      );
    });
    device.onuncapturederror = (event): void => {
      this.#failure ??= new GpuError(`gpu: ${event.error.message}`, 'gpu');
    };
  }

  /** Takes what an error scope will have found. */
  readonly check = (pending: Promise<GpuError | undefined>): void => void this.#checks.push(pending);

  /** @throws GpuError that is known by now */
  throwKnown(): void {
    if (this.#failure) throw this.#failure;
  }

  /** Waits for all checks. @throws GpuError that one of them found, or that was known before */
  async surface(): Promise<void> {
    const found = (await Promise.all(this.#checks.splice(0))).find((error) => error !== undefined);
    // What a check found says more than what Dawn tells of its consequences, e.g. of an invalid pipeline.
    this.#failure = found ?? this.#failure;
    this.throwKnown();
  }

  /** The device goes on purpose: its loss is none. */
  end(): void {
    this.#isOver = true;
  }
}
