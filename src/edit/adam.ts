/** The optimiser of δ: Adam as torch has it, then a clamp of the norm. It leaves δ alone once the trace says done. */
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPS = 1e-8;

/** What the search of n requests carries from step to step, and what one step is to do. */
export interface AdamStep {
  /** [n, D] each; m and v begin at 0. */
  readonly delta: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  readonly v0: Tensor;
  /** [n, D] of the loss without the weight decay, which is added here. */
  readonly gradient: Tensor;
  /** [steps, n, 8], row `step` written by `lossTrace`. */
  readonly trace: Tensor;
  /** u32 [a, 4], of which the first is the request: those whose δ moves. */
  readonly requests: Tensor;
  /** From 0. */
  readonly step: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Each δ is scaled back to |δ| = clamp · |v0| where it is longer. */
  readonly clamp: number;
}

/** One step on δ, in place. */
export function adamStep(s: Scope, { step, learningRate, weightDecay, clamp, ...bindings }: AdamStep): void {
  const { delta, requests } = bindings;
  const params = {
    step,
    n: delta.rows,
    d: delta.cols,
    learning_rate: learningRate,
    weight_decay: weightDecay,
    rest1: 1 - BETA1,
    beta2: BETA2,
    rest2: 1 - BETA2,
    eps: EPS,
    correction1: 1 - BETA1 ** (step + 1),
    correction2: 1 - BETA2 ** (step + 1),
    clamp_norm_factor: clamp,
  };
  s.gpu.run('edit/adam_step', bindings, params, { groups: [requests.rows] });
}
