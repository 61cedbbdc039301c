/**
 * The loss that v* is optimised for, but for the weight decay, which does not pass through the model; and its trace, a
 * row for every request and forward pass, written and judged on the GPU. Requests share a pass and nothing else: each
 * has a loss of its own, and their sum has the gradient of each.
 */
import { ShapeError } from '../errors.ts';
import { argmaxRows, klDivergence, logSoftmaxRows, logsumexp, lossGradient, nll } from '../models/losses.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { Tensor, indices, read, upload } from '../tensor/tensor.ts';

/** Which loss each row of the logits belongs to: rows of targets first, request by request, then a KL row of each. */
export interface LossTable {
  /** u32 [Σ c t] context by context */
  readonly targets: Tensor;
  /** u32 [Σ c t] their rows of the logits: 0, 1, … */
  readonly rows: Tensor;
  /** [Σ c t] 1 / (c t): every loss is a mean. */
  readonly weights: Tensor;
  /** u32 [a, 4] request, its first target, contexts c, target tokens t */
  readonly requests: Tensor;
}

/** What a request brings to the loss. */
export interface LossRequest {
  /** Its row of δ. */
  readonly request: number;
  readonly contexts: number;
  readonly targetIds: readonly number[];
}

export function lossTable(s: Scope, requests: readonly LossRequest[]): LossTable {
  const table: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  for (const { request, contexts, targetIds } of requests) {
    table.push(request, targets.length, contexts, targetIds.length);
    for (let j = 0; j < contexts; j += 1) targets.push(...targetIds);
    while (weights.length < targets.length) weights.push(1 / (contexts * targetIds.length));
  }
  return {
    targets: indices(s, targets, 'targets'),
    rows: indices(s, [...targets.keys()], 'target_rows'),
    weights: upload(s, Float32Array.from(weights), [weights.length], 'loss_weights'),
    requests: indices(s, table, 'requests').reshape(requests.length, 4),
  };
}

export interface ValueLossOptions {
  /** This pass, of all requests, defines p0: it writes logP0, and its KL and the gradient of it are exactly 0. */
  readonly first: boolean;
  readonly klFactor: number;
}

export interface ValueLoss {
  /** [Σ c t]. On the tape it stands for the whole loss, Σ (mean(nll) + kl), which is never summed up. */
  readonly nll: Tensor;
  /** [a], klFactor included */
  readonly kl: Tensor;
}

/**
 * For each request mean(nll) over the rows of its targets, plus klFactor · KL(p || p0) of its last row.
 *
 * @param logits  [R, V]
 * @param logP0   [n, V] ln p of the KL rows in the first pass
 * @throws ShapeError when targets or logP0 do not fit the logits
 */
export function valueLoss(
  s: Scope,
  logits: Tensor,
  { targets, rows, weights, requests }: LossTable,
  logP0: Tensor,
  { first, klFactor }: ValueLossOptions,
): ValueLoss {
  const [from, count] = [targets.size, requests.rows];
  if (from + count !== logits.rows || logP0.cols !== logits.cols)
    throw new ShapeError(
      `valueLoss: logits [${logits.rows}, ${logits.cols}], ${from} targets, ln p0 [${logP0.cols}].`,
    );
  const lse = logsumexp(s, logits);
  if (first) logSoftmaxRows(s, logits, [from, count], lse, logP0);
  const losses = nll(s, logits, rows, targets, lse);
  const drift = { logP0, requests, klFactor };
  const kl = klDivergence(s, logits, from, drift, lse);
  s.tape?.record(losses, [logits], (scope) => [
    lossGradient(scope, logits, targets, lse, weights, { ...drift, kl }),
  ]);
  return { nll: losses, kl };
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
  /** The search ends here: the loss is small enough, or the target was the most probable often enough, now or earlier. */
  readonly done: boolean;
}

export interface LossTerms {
  /** [steps, n, 8], a row for every step and request. */
  readonly trace: Tensor;
  /** From 0. */
  readonly step: number;
  readonly table: LossTable;
  /** [Σ c t] as the table has them. */
  readonly nll: Tensor;
  /** [a], kl_factor included. */
  readonly kl: Tensor;
  /** [n, D] */
  readonly delta: Tensor;
  readonly v0: Tensor;
  readonly weightDecay: number;
  /** Ends the search at so many rows with all target tokens as arg-max in every sampled context; 0: never. */
  readonly stopAfter?: number;
  /** [R, V], of which the arg-max is asked where `stopAfter` is not 0. */
  readonly logits?: Tensor;
}

/** Writes row `step` of the trace of every request of the table. */
export function lossTrace(s: Scope, terms: LossTerms): void {
  const { trace, step, table, nll, kl, delta, v0, weightDecay, stopAfter = 0 } = terms;
  const { requests, targets } = table;
  const n = delta.rows;
  if (nll.size !== targets.size || delta.size !== v0.size || (step + 1) * n > trace.rows) {
    throw new ShapeError(
      `lossTrace: ${nll.size} losses of ${targets.size} targets, delta ${delta.size}, v0 ${v0.size}, step ${step} of ${trace.rows / n}.`,
    );
  }
  const likeliest = stopAfter > 0 && terms.logits ? argmaxRows(s, terms.logits) : targets;
  const limits = { enough: SMALL_LOSS, stop_after: stopAfter };
  const params = { step, n, d: delta.cols, weight_decay: weightDecay, ...limits };
  const bindings = { requests, nll, kl, delta, v0, targets, likeliest, trace };
  s.gpu.run('edit/loss_trace', bindings, params, { groups: [requests.rows] });
}

/** The rows of `step`, one a request, read back. */
export async function readTraceRows(gpu: Gpu, trace: Tensor, step: number, n: number): Promise<TraceRow[]> {
  const bytes = 4 * TRACE_COLUMNS * n;
  const rows = new Tensor(trace.block, [n, TRACE_COLUMNS], 'f32', trace.offset + step * bytes);
  const all = await read(gpu, rows);
  return Array.from({ length: n }, (_, request) => {
    const at = (column: number): number => all[request * TRACE_COLUMNS + column] ?? NaN;
    return {
      loss: at(0),
      nll: at(1),
      kl: at(2),
      decay: at(3),
      probability: at(4),
      deltaNorm: at(5),
      done: at(6) !== 0,
    };
  });
}
