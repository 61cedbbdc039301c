/**
 * Bind groups, made once for the same kernel on the same memory. Making one takes half of the time that recording a
 * dispatch does, and the steps of a loop find the buffers of the step before in the pool again, in the same order.
 */
import type { Kernel } from './kernel.ts';

/** So many are kept; then all go, and those in use are made again. */
const MAX_GROUPS = 4096;

export class BindGroups {
  readonly #device: GPUDevice;
  readonly #groups = new Map<string, GPUBindGroup>();
  /** Buffers, views and layouts by number. A number never serves twice, so what was destroyed is never found. */
  readonly #numbers = new WeakMap<object, number>();
  #next = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get size(): number {
    return this.#groups.size;
  }

  /** The group of `resources`, in the order of the kernel's bindings. */
  of({ layout, reflection }: Kernel, resources: readonly GPUBindingResource[]): GPUBindGroup {
    let key = `${this.#number(layout)}`;
    for (const resource of resources) {
      if ('buffer' in resource)
        key += ` ${this.#number(resource.buffer)}:${resource.offset}+${resource.size}`;
      else key += ` ${this.#number(resource)}`;
    }
    let group = this.#groups.get(key);
    if (!group) {
      if (this.#groups.size >= MAX_GROUPS) this.#groups.clear();
      const entries = resources.map((resource, i) => ({
        binding: reflection.bindings[i]?.index ?? i,
        resource,
      }));
      group = this.#device.createBindGroup({ layout, entries });
      this.#groups.set(key, group);
    }
    return group;
  }

  #number(object: object): number {
    let number = this.#numbers.get(object);
    if (number === undefined) this.#numbers.set(object, (number = this.#next++));
    return number;
  }
}
