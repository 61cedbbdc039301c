/** The optimiser of δ: Adam as torch has it, then a clamp of the norm. Both leave δ alone once the trace says done. */
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPS = 1e-8;

export interface AdamState {
  /** [D] each; m and v begin at 0. */
  readonly delta: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  readonly v0: Tensor;
  /** [steps, 8], row `step` written by `lossTrace`. */
  readonly trace: Tensor;
  /** From 0. */
  readonly step: number;
}

/** One step on δ, in place. `gradient` [D] is that of the loss without the weight decay, which is added here. */
export function adamStep(
  s: Scope,
  state: AdamState & {
    readonly gradient: Tensor;
    readonly learningRate: number;
    readonly weightDecay: number;
  },
): void {
  const { delta, m, v, v0, trace, step, gradient, learningRate, weightDecay } = state;
  const params = {
    step,
    d: delta.size,
    learning_rate: learningRate,
    weight_decay: weightDecay,
    rest1: 1 - BETA1,
    beta2: BETA2,
    rest2: 1 - BETA2,
    eps: EPS,
    correction1: 1 - BETA1 ** (step + 1),
    correction2: 1 - BETA2 ** (step + 1),
  };
  s.gpu.run('edit/adam_step', { gradient, v0, trace, delta, m, v }, params, { groups: [1] });
}

/** Scales δ back to |δ| = clamp · |v0| where it is longer, in place. */
export function clampNorm(
  s: Scope,
  { delta, v0, trace, step, clamp }: Omit<AdamState, 'm' | 'v'> & { readonly clamp: number },
): void {
  const params = { step, d: delta.size, clamp_norm_factor: clamp };
  s.gpu.run('edit/clamp_norm', { v0, trace, delta }, params, { groups: [1] });
}
