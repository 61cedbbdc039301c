/** The optimiser of δ: Adam as torch has it, then a clamp of the norm. Both leave δ alone once the trace says done. */
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPS = 1e-8;

/** What the search of n requests carries from step to step. */
export interface AdamState {
  /** [n, D] each; m and v begin at 0. */
  readonly delta: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  readonly v0: Tensor;
  /** [steps, n, 8], row `step` written by `lossTrace`. */
  readonly trace: Tensor;
  /** u32 [a, 4], of which the first is the request: those whose δ moves. */
  readonly requests: Tensor;
  /** From 0. */
  readonly step: number;
}

/** One step on δ, in place. `gradient` [n, D] is that of the loss without the weight decay, which is added here. */
export function adamStep(
  s: Scope,
  state: AdamState & {
    readonly gradient: Tensor;
    readonly learningRate: number;
    readonly weightDecay: number;
  },
): void {
  const { delta, m, v, v0, trace, requests, step, gradient, learningRate, weightDecay } = state;
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
  };
  const bindings = { gradient, v0, trace, delta, m, v, requests };
  s.gpu.run('edit/adam_step', bindings, params, { groups: [requests.rows] });
}

/** Scales each δ back to |δ| = clamp · |v0| where it is longer, in place. */
export function clampNorm(
  s: Scope,
  { delta, v0, trace, requests, step, clamp }: Omit<AdamState, 'm' | 'v'> & { readonly clamp: number },
): void {
  const params = { step, n: delta.rows, d: delta.cols, clamp_norm_factor: clamp };
  s.gpu.run('edit/clamp_norm', { v0, trace, delta, requests }, params, { groups: [requests.rows] });
}
