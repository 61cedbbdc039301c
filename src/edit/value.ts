/**
 * v*: the value that makes the model say the target. Adam finds the delta that is added to the MLP output at the
 * subject's last token:
 *
 *   loss(δ) = mean_j −1/n Σ_t log p(target_t | context_j, δ)       NLL over contexts and target tokens
 *           + kl_factor · KL(p_δ(· | "{} is a") ‖ p_0)             what else is said of the subject stays
 *           + weight_decay · |δ| / |v0|²
 *   v* = v0 + δ,   v0 the MLP output in the bare prompt
 *
 * Everything of a step (forward, loss, backward, Adam, clamp) is one submission; only the row of the trace comes back.
 *
 * Source: Meng et al. 2022, eq. 4 and section 3.1; kmeng01/rome `compute_v`. The code's weight decay, |δ| and not |δ|²
 * over |v0|², stands in no equation of the paper; the numbers follow the code.
 */
import { Scope } from '../gpu/scope.ts';
import type { Model } from '../models/model.ts';
import { Tape } from '../tensor/tape.ts';
import { empty, zeros } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { adamStep, clampNorm } from './adam.ts';
import type { Suffix } from './frozen.ts';
import { TRACE_COLUMNS, lossTrace, readTraceRow, valueLoss } from './value-loss.ts';
import type { TraceRow } from './value-loss.ts';

export interface ValueOptions {
  /** Forward passes at most; the last one takes no step. */
  readonly steps: number;
  readonly learningRate: number;
  /** |δ| is held at or below this many |v0|. */
  readonly clamp: number;
  readonly klFactor: number;
  readonly weightDecay: number;
}

/** As published, for every GPT-2 but medium (clamp 3). */
export const VALUE_DEFAULTS: ValueOptions = {
  steps: 20,
  learningRate: 0.5,
  clamp: 4,
  klFactor: 0.0625,
  weightDecay: 0.5,
};

export interface Optimised {
  /** [D] */
  readonly delta: Tensor;
  /** [D] the loss's gradient at δ = 0. */
  readonly gradient0: Tensor;
  /** [D] v0 + δ */
  readonly vStar: Tensor;
  /** One row a forward pass. */
  readonly trace: TraceRow[];
}

/** What δ is searched for. */
export interface ValueSearch {
  readonly suffix: Suffix;
  /** u32 [n·t] target ids as the loss rows of `suffix` read them: context by context */
  readonly targets: Tensor;
  /** t, target tokens a context */
  readonly perRow: number;
  /** [D] */
  readonly v0: Tensor;
  readonly options: ValueOptions;
  readonly onStep?: ((row: TraceRow, step: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Optimises δ; the results belong to `owner`. */
export async function optimiseValue(
  owner: Scope,
  model: Model,
  { suffix, targets, perRow, v0, options, onStep, signal }: ValueSearch,
): Promise<Optimised> {
  const gpu = owner.gpu;
  const D = v0.size;
  const delta = zeros(owner, [D], 'delta');
  const gradient0 = zeros(owner, [D], 'grad_0');
  const rows: TraceRow[] = [];
  await gpu.scope(async (run) => {
    const moments = { m: zeros(run, [D], 'adam_m'), v: zeros(run, [D], 'adam_v') };
    const trace = zeros(run, [options.steps, TRACE_COLUMNS], 'trace');
    const logP0 = empty(run, [model.dims.V], 'log_p0');
    for (let step = 0; step < options.steps; step += 1) {
      signal?.throwIfAborted();
      const tape = new Tape();
      tape.watch(delta);
      const s = new Scope(gpu, tape);
      try {
        const x = suffix.forward(s, delta);
        const loss = valueLoss(s, model.logits(s, x, suffix.lossRows), targets, logP0, {
          first: step === 0,
          klFactor: options.klFactor,
        });
        lossTrace(s, {
          trace,
          step,
          nll: loss.nll,
          kl: loss.kl,
          perRow,
          delta,
          v0,
          weightDecay: options.weightDecay,
        });
        if (step < options.steps - 1) {
          const gradient = tape.backward(s, loss.whole, delta);
          if (step === 0) gpu.copy(gradient, gradient0);
          adamStep(s, {
            delta,
            ...moments,
            gradient,
            v0,
            trace,
            step,
            learningRate: options.learningRate,
            weightDecay: options.weightDecay,
          });
          clampNorm(s, { delta, v0, trace, step, clamp: options.clamp });
        }
      } finally {
        s.close();
      }
      const row = await readTraceRow(gpu, trace, step);
      rows.push(row);
      onStep?.(row, step);
      if (row.done) break;
    }
  });
  return { delta, gradient0, vStar: sum(owner, v0, delta), trace: rows };
}

function sum(owner: Scope, v0: Tensor, delta: Tensor): Tensor {
  const vStar = empty(owner, v0.shape, 'v_star');
  owner.gpu.run('tensor/add', { a: v0, b: delta, y: vStar }, { n: v0.size }, { threads: v0.size });
  return vStar;
}
