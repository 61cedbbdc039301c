/**
 * One device and everything that is shared on it: compiled kernels, the buffer pool, the command encoder that
 * collects dispatches, and the way to wait.
 *
 * Ops are synchronous and only record; `read` and `sync` are where time passes and where errors surface.
 */
import { GpuError, ShapeError } from '../errors.ts';
import type { AdapterSummary } from './adapter-info.ts';
import { BindGroups } from './bind-groups.ts';
import { Pool, type View } from './buffers.ts';
import { type Grid, checkNames, groupsOf } from './dispatch.ts';
import { Faults } from './faults.ts';
import { type Kernel, compile } from './kernel.ts';
import { type Recorder, Scope } from './scope.ts';
import { type DispatchTime, Timer } from './timing.ts';
import { UniformRing } from './uniforms.ts';

/** What the surroundings (Node, a browser page) hand in. */
export interface Surroundings {
  readonly adapter: GPUAdapter;
  readonly summary: AdapterSummary;
  /** The text of `shaders/NAME.wgsl`. */
  readonly shader: (name: string) => string;
  /** Lets the adapter work while a promise is pending; absent: plain `await`. */
  readonly wait?: <T>(promise: Promise<T>) => Promise<T>;
}

export class Gpu {
  readonly device: GPUDevice;
  readonly adapter: AdapterSummary;
  readonly pool: Pool;
  readonly timer: Timer;
  /** Waits for a promise of the device in the way that suits the adapter. */
  readonly wait: NonNullable<Surroundings['wait']>;
  dispatches = 0;

  readonly #shader: Surroundings['shader'];
  readonly #kernels = new Map<string, Kernel>();
  readonly #uniforms: UniformRing;
  readonly #bindGroups: BindGroups;
  readonly #faults: Faults;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;

  static async create(surroundings: Surroundings): Promise<Gpu> {
    const { adapter } = surroundings;
    const wanted: GPUFeatureName[] = ['timestamp-query', 'shader-f16', 'subgroups'];
    const device = await adapter.requestDevice({
      requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
      requiredLimits: {
        maxBufferSize: adapter.limits.maxBufferSize,
        maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
        maxTextureArrayLayers: adapter.limits.maxTextureArrayLayers,
      },
    });
    return new Gpu(device, surroundings);
  }

  private constructor(device: GPUDevice, surroundings: Surroundings) {
    this.device = device;
    this.adapter = surroundings.summary;
    this.wait = surroundings.wait ?? ((promise) => promise);
    this.#shader = surroundings.shader;
    this.#faults = new Faults(device);
    this.pool = new Pool(device, this.#faults.check, this.adapter.description);
    this.#uniforms = new UniformRing(device, () => this.flush());
    this.#bindGroups = new BindGroups(device);
    this.timer = new Timer(device);
  }

  get liveBytes(): number {
    return this.pool.liveBytes;
  }

  /** Largest range one binding may cover; larger tensors are read in row windows. */
  get maxBindingBytes(): number {
    return this.device.limits.maxStorageBufferBindingSize;
  }

  /** Runs `fn` with a new scope; its tensors return to the pool when `fn` ends, however it ends. */
  async scope<T>(fn: (s: Scope) => T | Promise<T>, tape?: Recorder): Promise<T> {
    const s = new Scope(this, tape);
    try {
      return await fn(s);
    } finally {
      s.close();
    }
  }

  /** The same for work that is only recorded: nothing in it waits. */
  record<T>(fn: (s: Scope) => T): T {
    const s = new Scope(this);
    try {
      return fn(s);
    } finally {
      s.close();
    }
  }

  /** A scope that its owner closes: for a model's weights, a cache, or a step. */
  open(tape?: Recorder): Scope {
    return new Scope(this, tape);
  }

  kernel(name: string, overrides: Readonly<Record<string, number>> = {}): Kernel {
    const key = `${name} ${JSON.stringify(overrides)}`;
    let kernel = this.#kernels.get(key);
    if (!kernel) {
      kernel = compile(this.device, name, this.#shader(name), overrides, this.#faults.check);
      this.#kernels.set(key, kernel);
    }
    return kernel;
  }

  /** Records one dispatch. Bindings and params are checked against the shader's own text. */
  run(
    name: string,
    bind: Readonly<Record<string, View | GPUTextureView>>,
    params: Readonly<Record<string, number>>,
    grid: Grid,
  ): void {
    this.#faults.throwKnown();
    const kernel = this.kernel(name, grid.overrides);
    const groups = groupsOf(kernel, grid);
    if (groups.includes(0)) return; // nothing to do
    checkNames(kernel, bind, params);
    const resources = kernel.reflection.bindings.map(({ name: key, kind }): GPUBindingResource => {
      if (kind === 'uniform') return { buffer: this.#uniforms.buffer, offset: 0, size: kernel.paramBytes };
      const view = bind[key] as View | GPUTextureView;
      if (!('block' in view)) return view;
      if (view.bytes > this.maxBindingBytes) {
        throw new ShapeError(
          `${name}: "${key}" binds ${view.bytes} bytes; this adapter binds at most ${this.maxBindingBytes}. Use row windows.`,
        );
      }
      const buffer = this.pool.bufferOf(view.block); // with its contents, before they count as changed
      if (kind === 'read_write') view.block.writes += 1;
      return { buffer, offset: view.offset, size: inWords(view.bytes) };
    });
    const group = this.#bindGroups.of(kernel, resources);
    // After the buffers: putting a block's contents back is a dispatch with a slot of its own.
    const slot = kernel.paramBytes > 0 ? [this.#uniforms.fill(kernel, params)] : [];
    this.#encoder ??= this.device.createCommandEncoder();
    const timestampWrites = this.timer.begin(name, grid.cost);
    if (timestampWrites) this.#endPass();
    this.#pass ??= this.#encoder.beginComputePass(timestampWrites ? { timestampWrites } : {});
    this.#pass.setPipeline(kernel.pipeline);
    this.#pass.setBindGroup(0, group, slot);
    this.#pass.dispatchWorkgroups(...groups);
    this.dispatches += 1;
    if (timestampWrites) this.#endPass();
    if (this.timer.full) this.flush();
  }

  /** Copies what `from` sees, in whole words, to the beginning of `to`, in recorded order. */
  copy(from: View, to: View): void {
    const [source, target] = [this.pool.bufferOf(from.block), this.pool.bufferOf(to.block)];
    this.#commands().copyBufferToBuffer(source, from.offset, target, to.offset, inWords(from.bytes));
    to.block.writes += 1;
  }

  /** Fills with zero bytes, in recorded order. */
  clear(view: View): void {
    const buffer = this.pool.bufferOf(view.block);
    this.#commands().clearBuffer(buffer, view.offset, inWords(view.bytes));
    view.block.writes += 1;
  }

  /** Writes from the CPU. Pending work is submitted first: the block may have been recycled. */
  write(view: View, data: ArrayBufferView<ArrayBuffer>, at = 0): void {
    const buffer = this.pool.bufferOf(view.block);
    this.flush();
    view.block.writes += 1;
    this.device.queue.writeBuffer(buffer, view.offset + at, data.buffer, data.byteOffset, data.byteLength);
  }

  /** Submits what has been recorded. */
  flush(): void {
    this.#endPass();
    if (!this.#encoder) {
      this.pool.bury();
      return;
    }
    this.timer.resolve(this.#encoder);
    this.#uniforms.upload();
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.pool.bury();
  }

  /** Submits and waits until everything is done; errors of earlier calls surface here. */
  async sync(): Promise<void> {
    this.flush();
    await this.wait(this.device.queue.onSubmittedWorkDone());
    await this.#faults.surface();
  }

  /** Bytes of a view, copied back to the CPU. */
  async readBytes(view: View): Promise<ArrayBuffer> {
    const buffer = this.pool.bufferOf(view.block);
    const size = inWords(view.bytes);
    const staging = this.device.createBuffer({
      size,
      usage: 0x01 | 0x08 /* MAP_READ | COPY_DST */,
      label: 'read',
    });
    try {
      this.#commands().copyBufferToBuffer(buffer, view.offset, staging, 0, size);
      this.flush();
      try {
        await this.wait(staging.mapAsync(0x01));
      } catch (error) {
        await this.#faults.surface();
        throw new GpuError(`gpu: reading "${view.block.label}" failed: ${String(error)}`, 'gpu');
      }
      await this.#faults.surface();
      return staging.getMappedRange().slice(0, view.bytes);
    } finally {
      staging.destroy();
    }
  }

  /** Times of all dispatches since `timer.start()`, in order. */
  async times(): Promise<DispatchTime[]> {
    await this.sync();
    return this.timer.take(this.wait);
  }

  destroy(): void {
    this.#faults.end();
    this.pool.drain();
    this.device.destroy();
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /** The encoder of what is pending, outside of any pass. */
  #commands(): GPUCommandEncoder {
    this.#endPass();
    return (this.#encoder ??= this.device.createCommandEncoder());
  }
}

/** Bytes rounded up to whole words. */
function inWords(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
