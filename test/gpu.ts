/** The one device that all tests of a process share, and helpers around it. */
import * as assert from 'uvu/assert';
import type { Test } from 'uvu';
import { openGpu } from '../src/gpu/node.ts';
import type { Scope } from '../src/gpu/scope.ts';
import { Tensor, empty, read, upload } from '../src/tensor/tensor.ts';
import { adding } from './mutants/chosen.ts';

export const gpu = await openGpu();

/**
 * A suite each of whose tests gives back the memory that it took. No hook after each test says so: one that throws behind a
 * test that failed ends the suite without a word of either, and with exit code 0.
 */
export function withoutLeaks<T>(suite: Test<T>): Test<T> {
  return adding(suite, (name, work) =>
    suite(name, async (context) => {
      const live = gpu.liveBytes;
      await work(context);
      assert.is(gpu.liveBytes, live, 'memory stays behind');
    }),
  );
}

/** Deterministic test numbers, about normal, around `mean`. */
export function noise(n: number, seed: number, mean = 0, spread = 1): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761 + 1) >>> 0;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from(
    { length: n },
    () => mean + spread * (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3),
  );
}

export function tensor(
  s: Scope,
  data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
  shape: number[],
  label = 'test',
): Tensor {
  return upload(s, data, shape, label);
}

/** Runs `fn` as if a binding held so many bytes at most: matrices of panels then lie in several pieces. */
export async function bindingAtMost<T>(bytes: number, fn: () => Promise<T>): Promise<T> {
  Object.defineProperty(gpu, 'maxBindingBytes', { value: bytes, configurable: true });
  try {
    return await fn();
  } finally {
    Reflect.deleteProperty(gpu, 'maxBindingBytes');
  }
}

const CANARIES = 64;

/** An output of `shape` with NaN canaries behind it, inside the same buffer and binding range. */
export function guarded(
  s: Scope,
  shape: number[],
  label = 'guarded',
): { t: Tensor; canaries: () => Promise<void> } {
  const size = shape.reduce((a, b) => a * b, 1);
  const whole = upload(s, new Float32Array(size + CANARIES).fill(NaN), [size + CANARIES], label);
  const t = new Tensor(whole.block, shape);
  return {
    // A kernel sees a binding that ends with the tensor, so this catches only what robustness lets through;
    // bind `whole` (pass `wide`) to catch the rest.
    t,
    canaries: async () => {
      const tail = (await read(s.gpu, whole)).subarray(size);
      if (!tail.every(Number.isNaN))
        throw new Error(`${label}: wrote past the end, canary ${tail.findIndex((x) => !Number.isNaN(x))}`);
    },
  };
}

/** The same memory as `guarded`, but bound including its canaries: what a kernel sees if it ignores its sizes. */
export class Wide extends Tensor {
  override get bytes(): number {
    return super.bytes + CANARIES * 4;
  }
}

export function wide(s: Scope, shape: number[], label = 'wide'): { t: Wide; canaries: () => Promise<void> } {
  const { t, canaries } = guarded(s, shape, label);
  return { t: new Wide(t.block, shape), canaries };
}

export { empty, read };
