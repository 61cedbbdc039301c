/**
 * v*: the value that makes the model say the target. Adam finds the delta that is added to the residual stream after the
 * edit layer at the subject's last token, for each request by itself:
 *
 *   loss(δ) = mean_j −1/n Σ_t log p(target_t | context_j, δ)       NLL over contexts and target tokens
 *           + kl_factor · KL(p_δ(· | "{} is a") ‖ p_0)             what else is said of the subject stays
 *           + weight_decay · |δ| / |v0|²
 *   v* = v0 + δ,   in the bare prompt v0 is the MLP's output for a single edit, the stream itself for many (z = h + δ)
 *
 * Everything of a step (forward, loss, backward, Adam, clamp) is one submission; only its rows of the trace come back.
 *
 * Source: Meng et al. 2022, eq. 4 and section 3.1; kmeng01/rome `compute_v`. The code's weight decay, |δ| and not |δ|²
 * over |v0|², stands in no equation of the paper; the numbers follow the code.
 */
import type { Scope } from '../gpu/scope.ts';
import type { Model } from '../models/model.ts';
import { Tape } from '../tensor/tape.ts';
import { type Tensor, empty, zeros } from '../tensor/tensor.ts';
import { adamStep } from './adam.ts';
import type { Suffix } from './frozen.ts';
import { normalise } from './solve.ts';
import { type TraceRow, TRACE_COLUMNS, lossTrace, readTraceRows, valueLoss } from './value-loss.ts';

export interface ValueOptions {
  /** Forward passes at most; the last one takes no step. */
  readonly steps: number;
  readonly learningRate: number;
  /** |δ| is held at or below this many |v0|. */
  readonly clamp: number;
  readonly klFactor: number;
  readonly weightDecay: number;
  /** Ends the search at so many steps at which every sampled context has all target tokens as arg-max; 0: never. */
  readonly stopAfter: number;
  /** v* is given this length (norm anchoring); 0: it keeps its own. */
  readonly anchorNorm: number;
}

/** As published, for every GPT-2 but medium (clamp 3). */
export const VALUE_DEFAULTS: ValueOptions = {
  steps: 20,
  learningRate: 0.5,
  clamp: 4,
  klFactor: 0.0625,
  weightDecay: 0.5,
  stopAfter: 0,
  anchorNorm: 0,
};

export interface Optimised {
  /** [n, D] */
  readonly delta: Tensor;
  /** [n, D] the gradient of each loss at δ = 0. */
  readonly gradient0: Tensor;
  /** [n, D] v0 + δ, of the length that norm anchoring gives it */
  readonly vStar: Tensor;
  /** Of each request one row a forward pass. */
  readonly traces: TraceRow[][];
  /** Tokens that the first step ran. */
  readonly stepTokens: number;
}

/** What the δ of n requests are searched for. */
export interface ValueSearch {
  readonly suffix: Suffix;
  /** [n, D] */
  readonly v0: Tensor;
  readonly options: ValueOptions;
  readonly onStep?: ((row: TraceRow, step: number, request: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Optimises each δ by itself, all in the same passes until its search ends; the results belong to `owner`. */
export async function optimiseValues(
  owner: Scope,
  model: Model,
  { suffix, v0, options, onStep, signal }: ValueSearch,
): Promise<Optimised> {
  const gpu = owner.gpu;
  const [n, D] = [v0.rows, v0.cols];
  const { steps, klFactor, weightDecay, learningRate, clamp, stopAfter } = options;
  const delta = zeros(owner, [n, D], 'delta');
  const gradient0 = zeros(owner, [n, D], 'grad_0');
  const traces: TraceRow[][] = Array.from({ length: n }, () => []);
  let active = traces.map((_, request) => request);
  let passes = gpu.open();
  let pass = suffix.pass(passes, active);
  const stepTokens = pass.tokens;
  try {
    await gpu.scope(async (run) => {
      const moments = { m: zeros(run, [n, D], 'adam_m'), v: zeros(run, [n, D], 'adam_v') };
      const trace = zeros(run, [steps, n, TRACE_COLUMNS], 'trace');
      const logP0 = empty(run, [n, model.dims.V], 'log_p0');
      for (let step = 0; step < steps && active.length > 0; step += 1) {
        signal?.throwIfAborted();
        const tape = new Tape();
        tape.watch(delta);
        await gpu.scope((s) => {
          const logits = model.logits(s, pass.forward(s, delta));
          const { nll, kl } = valueLoss(s, logits, pass, logP0, { first: step === 0, klFactor });
          lossTrace(s, { trace, step, table: pass, nll, kl, delta, v0, weightDecay, stopAfter, logits });
          if (step === steps - 1) return;
          const gradient = tape.backward(s, nll, delta);
          if (step === 0) gpu.copy(gradient, gradient0);
          const state = { delta, ...moments, v0, gradient, trace, requests: pass.requests, step };
          adamStep(s, { ...state, learningRate, weightDecay, clamp });
        }, tape);
        const rows = await readTraceRows(gpu, trace, step, n);
        for (const request of active) {
          const row = rows[request] as TraceRow;
          traces[request]?.push(row);
          onStep?.(row, step, request);
        }
        const left = active.filter((request) => !rows[request]?.done);
        if (left.length > 0 && left.length < active.length) {
          passes.close();
          passes = gpu.open();
          pass = suffix.pass(passes, left);
        }
        active = left;
      }
    });
  } finally {
    passes.close();
  }
  return { delta, gradient0, vStar: sum(owner, v0, delta, options.anchorNorm), traces, stepTokens };
}

function sum(owner: Scope, v0: Tensor, delta: Tensor, length: number): Tensor {
  const vStar = empty(owner, v0.shape, 'v_star');
  owner.gpu.run('tensor/add', { a: v0, b: delta, y: vStar }, { n: v0.size }, { threads: v0.size });
  return length > 0 ? normalise(owner, vStar, length) : vStar;
}
