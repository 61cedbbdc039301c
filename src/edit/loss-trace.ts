/** The trace of the search for v*: one row a forward pass, written and judged on the GPU. */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { read } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';

export const TRACE_COLUMNS = 8;
/** The search ends below this loss (kmeng01/rome `compute_v`). */
const ENOUGH = 0.05;

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
  const { trace, step, nll, kl, perRow, delta, v0, weightDecay, enough = ENOUGH } = terms;
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
