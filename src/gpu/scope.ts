/**
 * A scope owns the tensors made in it; closing it returns them to the pool.
 * It is a value that is passed along, never ambient state, so `await` cannot mix two scopes.
 */
import { ShapeError } from '../errors.ts';
import type { Block, View } from './buffers.ts';
import type { Gpu } from './context.ts';

/** What ops tell about themselves while a forward pass is recorded; `src/tensor/tape.ts` is the one that we have. */
export interface Recorder {
  /** `backward` takes the loss's gradient by `output` and returns that by each of `inputs`, in their order. */
  record<T extends View>(
    output: T,
    inputs: readonly T[],
    backward: (s: Scope, gradient: T) => readonly T[],
  ): void;
}

export class Scope {
  readonly gpu: Gpu;
  /** When set, ops record their backward here. */
  readonly tape: Recorder | undefined;
  readonly #owned = new Set<Block>();
  #open = true;

  constructor(gpu: Gpu, tape?: Recorder) {
    this.gpu = gpu;
    this.tape = tape;
  }

  alloc(bytes: number, label: string): Block {
    if (!this.#open) throw new ShapeError(`scope: "${label}" was asked of a scope that is closed.`);
    const block = this.gpu.pool.take(bytes, label);
    this.#owned.add(block);
    return block;
  }

  /** Whether `t` ends with this scope. */
  owns(t: { readonly block: Block }): boolean {
    return this.#owned.has(t.block);
  }

  /** Moves `t` to `owner`: it outlives this scope and ends with that one. */
  keep<T extends { readonly block: Block }>(t: T, owner: Scope): T {
    if (!this.#owned.delete(t.block))
      throw new ShapeError(`scope: "${t.block.label}" does not belong to this scope.`);
    owner.#owned.add(t.block);
    return t;
  }

  /** Returns one tensor early. */
  release(t: { readonly block: Block }): void {
    if (!this.#owned.delete(t.block))
      throw new ShapeError(`scope: "${t.block.label}" does not belong to this scope.`);
    this.gpu.pool.give(t.block);
  }

  close(): void {
    this.#open = false;
    // The last one first: whoever takes as many again gets the same ones in the same order.
    for (const block of [...this.#owned].reverse()) this.gpu.pool.give(block);
    this.#owned.clear();
  }
}
