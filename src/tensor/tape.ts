/**
 * Reverse-mode differentiation: ops record how a gradient passes back through them, and the tape replays that in
 * reverse. Only what depends on a watched tensor is recorded, so weights never get gradients.
 */
import { ShapeError } from '../errors.ts';
import type { View } from '../gpu/buffers.ts';
import type { Recorder, Scope } from '../gpu/scope.ts';
import { add } from './elementwise.ts';
import type { Tensor } from './tensor.ts';

interface Step {
  readonly output: Tensor;
  readonly inputs: readonly Tensor[];
  readonly backward: (s: Scope, gradient: Tensor) => readonly Tensor[];
}

export class Tape implements Recorder {
  readonly #tracked = new Set<View>();
  readonly #steps: Step[] = [];

  /** Declares a tensor whose gradient is wanted. */
  watch(t: Tensor): void {
    this.#tracked.add(t);
  }

  record<T extends View>(
    output: T,
    inputs: readonly T[],
    backward: (s: Scope, gradient: T) => readonly T[],
  ): void {
    if (!inputs.some((input) => this.#tracked.has(input))) return;
    this.#tracked.add(output);
    this.#steps.push({ output, inputs, backward } as unknown as Step); // T is Tensor wherever a tape is used
  }

  /**
   * The gradient of `loss` by `wanted`, in scope `s`. The op that made the loss knows its own seed (1), so the
   * gradient handed to it is the loss itself and is not looked at.
   *
   * @throws ShapeError when `wanted` is not watched, or the loss does not depend on it
   */
  backward(s: Scope, loss: Tensor, wanted: Tensor): Tensor {
    const gradients = new Map<Tensor, Tensor>([[loss, loss]]);
    for (const { output, inputs, backward } of this.#steps.toReversed()) {
      const gradient = gradients.get(output);
      if (!gradient) continue;
      backward(s, gradient).forEach((part, i) => {
        const input = inputs[i];
        if (!input || !this.#tracked.has(input)) return;
        const sum = gradients.get(input);
        gradients.set(input, sum ? add(s, sum, part) : part);
      });
    }
    const gradient = gradients.get(wanted);
    if (!gradient)
      throw new ShapeError(
        `tape: the loss does not depend on "${wanted.label}". Was it watched before the forward pass?`,
      );
    return gradient;
  }
}
