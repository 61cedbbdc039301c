/**
 * The loss that v* is optimised for, but for the weight decay, which does not pass through the model; and its trace, one
 * row a forward pass, written and judged on the GPU.
 */
import { ShapeError } from '../errors.ts';
import { klDivergence, logSoftmaxRow, logsumexp, lossGradient, nll } from '../models/losses.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { read } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

export interface ValueLossOptions {
  /** This pass defines p0: it writes logP0, and its KL and the gradient of it are exactly 0. */
  readonly first: boolean;
  readonly klFactor: number;
}

export interface ValueLoss {
  /** [R − 1] */
  readonly nll: Tensor;
  /** [1], klFactor included */
  readonly kl: Tensor;
  /** Where the whole loss, mean(nll) + kl, stands on the tape: what `backward` is asked about. It is never summed up. */
  readonly whole: Tensor;
}

/**
 * mean(nll) over all rows but the last, plus klFactor · KL(p || p0) of the last.
 *
 * @param logits  [R, V]
 * @param targets u32 [R − 1]
 * @param logP0   [V] ln p of the last row in the first pass
 * @throws ShapeError when targets or logP0 do not fit the logits
 */
export function valueLoss(
  s: Scope,
  logits: Tensor,
  targets: Tensor,
  logP0: Tensor,
  { first, klFactor }: ValueLossOptions,
): ValueLoss {
  const last = logits.rows - 1;
  if (targets.size !== last || logP0.size !== logits.cols)
    throw new ShapeError(
      `valueLoss: logits [${logits.rows}, ${logits.cols}], ${targets.size} targets, ln p0 [${logP0.size}].`,
    );
  const lse = logsumexp(s, logits);
  if (first) logSoftmaxRow(s, logits, last, lse, logP0);
  const losses = nll(s, logits, targets, lse);
  const kl = klDivergence(s, logits, last, logP0, klFactor, lse);
  const drift = { logP0, kl, klFactor };
  s.tape?.record(losses, [logits], (scope) => [lossGradient(scope, logits, targets, lse, 1 / last, drift)]);
  return { nll: losses, kl, whole: losses };
}

export const TRACE_COLUMNS = 8;
/** The search ends below this loss (kmeng01/rome `compute_v`). */
const SMALL_LOSS = 0.05;

export interface TraceRow {
  /** nll + kl + decay */
  readonly loss: number;
  /** Mean over contexts of the target's mean negative log-likelihood per token. */
  readonly nll: number;
  /** kl_factor times the divergence of what else is said of the subject. */
  readonly kl: number;
  /** weight_decay · |δ| / |v0|² */
  readonly decay: number;
  /** Mean over contexts of the target's probability per token (geometric mean). */
  readonly probability: number;
  readonly deltaNorm: number;
  /** The loss is small enough, now or in an earlier row. */
  readonly done: boolean;
}

export interface LossTerms {
  /** [steps, 8], one row a step. */
  readonly trace: Tensor;
  /** From 0. */
  readonly step: number;
  /** [n·t] context by context. */
  readonly nll: Tensor;
  /** [1], kl_factor included. */
  readonly kl: Tensor;
  /** t, target tokens a context. */
  readonly perRow: number;
  readonly delta: Tensor;
  readonly v0: Tensor;
  readonly weightDecay: number;
  readonly enough?: number;
}

/** Writes row `step` of the trace. */
export function lossTrace(s: Scope, terms: LossTerms): void {
  const { trace, step, nll, kl, perRow, delta, v0, weightDecay, enough = SMALL_LOSS } = terms;
  const contexts = nll.size / perRow;
  if (!Number.isInteger(contexts) || delta.size !== v0.size || step >= trace.rows) {
    throw new ShapeError(
      `lossTrace: ${nll.size} losses of ${perRow} a context, delta ${delta.size}, v0 ${v0.size}, step ${step} of ${trace.rows}.`,
    );
  }
  const params = { step, contexts, tokens: perRow, d: delta.size, weight_decay: weightDecay, enough };
  s.gpu.run('edit/loss_trace', { nll, kl, delta, v0, trace }, params, { groups: [1] });
}

/** Row `step` of the trace, read back. */
export async function readTraceRow(gpu: Gpu, trace: Tensor, step: number): Promise<TraceRow> {
  const all = await read(gpu, trace);
  const at = (column: number): number => all[step * TRACE_COLUMNS + column] ?? NaN;
  return {
    loss: at(0),
    nll: at(1),
    kl: at(2),
    decay: at(3),
    probability: at(4),
    deltaNorm: at(5),
    done: at(6) !== 0,
  };
}
