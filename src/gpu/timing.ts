/**
 * Times of single dispatches by timestamp queries: while the timer is on, every dispatch gets a compute pass of its
 * own with a timestamp at either end. Off, it costs nothing.
 */
import type { Grid } from './dispatch.ts';

export interface DispatchTime {
  readonly kernel: string;
  readonly shape: string;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

const PAIRS = 1024;

type Cost = Grid['cost'];

export class Timer {
  readonly #device: GPUDevice;
  #on = false;
  #queries: GPUQuerySet | undefined;
  #open: { kernel: string; cost: Cost }[] = [];
  #done: { labels: { kernel: string; cost: Cost }[]; resolved: GPUBuffer; buffer: GPUBuffer }[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get available(): boolean {
    return this.#device.features.has('timestamp-query');
  }

  /** The query set is used up: the context submits before it records more. */
  get full(): boolean {
    return this.#open.length >= PAIRS;
  }

  start(): void {
    this.#on = this.available;
  }

  stop(): void {
    this.#on = false;
  }

  begin(kernel: string, cost: Cost): GPUComputePassTimestampWrites | undefined {
    if (!this.#on) return undefined;
    this.#queries ??= this.#device.createQuerySet({ type: 'timestamp', count: PAIRS * 2 });
    const i = this.#open.push({ kernel, cost }) - 1;
    return { querySet: this.#queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
  }

  /** Records the read-back of the timestamps of this submit. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#open.length === 0 || !this.#queries) return;
    const size = this.#open.length * 16;
    const resolved = this.#device.createBuffer({ size, usage: 0x200 | 0x04 /* QUERY_RESOLVE | COPY_SRC */ });
    const buffer = this.#device.createBuffer({ size, usage: 0x01 | 0x08 /* MAP_READ | COPY_DST */ });
    encoder.resolveQuerySet(this.#queries, 0, this.#open.length * 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, buffer, 0, size);
    this.#done.push({ labels: this.#open, resolved, buffer });
    this.#open = [];
  }

  async take(wait: <T>(promise: Promise<T>) => Promise<T>): Promise<DispatchTime[]> {
    const times: DispatchTime[] = [];
    for (const { labels, resolved, buffer } of this.#done.splice(0)) {
      await wait(buffer.mapAsync(0x01));
      const ticks = new BigUint64Array(buffer.getMappedRange());
      labels.forEach(({ kernel, cost }, i) => {
        const ms = Number((ticks[2 * i + 1] ?? 0n) - (ticks[2 * i] ?? 0n)) / 1e6;
        times.push({
          kernel,
          shape: cost?.shape ?? '',
          ms,
          flops: cost?.flops ?? 0,
          bytes: cost?.bytes ?? 0,
        });
      });
      buffer.destroy();
      resolved.destroy();
    }
    return times;
  }
}
