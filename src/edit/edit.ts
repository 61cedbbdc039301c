/** An edit: what is asked for, what comes of it, and several at a time. How it is computed is `compute.ts`. */
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { computeBatch } from './compute.ts';
import type { Solved, Solver } from './covariance-solver.ts';
import type { Verdict } from './guard.ts';
import type { Method } from './method.ts';
import type { EditRequest } from './request.ts';
import { type EditRows, editRows } from './rows.ts';
import type { LowRankUpdate } from './update.ts';
import { valueBatches } from './value-batches.ts';
import type { TraceRow } from './value-loss.ts';
import type { ValueOptions } from './value.ts';
import type { Warning } from './warnings.ts';

/** What several requests have in common, and theirs in the order of the requests. */
export interface EditsOptions extends Partial<ValueOptions> {
  readonly methods: readonly Method[];
  readonly layer: number;
  /** Templates with one `{}` each, `"{}"` first. */
  readonly contexts: readonly string[];
  /** Solves C x = k: from a covariance, or the identity. */
  readonly solver: Solver;
  /** false: every step runs the whole model, for comparison. Default true. */
  readonly freeze?: boolean | undefined;
  /** The requests in their contexts, where they have been tokenised already. */
  readonly rows?: readonly EditRows[] | undefined;
  /** Bytes that the search of several values at a time may take on the GPU. */
  readonly memory?: number | undefined;
  readonly onStep?: ((row: TraceRow, step: number, request: number) => void) | undefined;
  /** Called as each phase begins. */
  readonly onPhase?: ((phase: EditPhase) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The same for one request. */
export interface EditOptions extends Omit<EditsOptions, 'rows'> {
  readonly rows?: EditRows | undefined;
}

/** What a run of edits has in common, whatever the facts and methods. */
export type EditSettings = Omit<EditsOptions, 'methods' | 'signal' | 'rows' | 'onStep'>;

export type EditPhase = 'contexts' | 'value' | 'solve' | 'update';

/** The update of one method, W += u Λᵀ with u of unit length, and what it says of itself. */
export interface Update extends LowRankUpdate {
  readonly method: Method;
  /** k · u */
  readonly divisor: number;
  /** k · u / (|k| |u|) */
  readonly cosine: number;
  readonly lambdaNorm: number;
  /** |u Λᵀ|, Frobenius */
  readonly updateNorm: number;
  /** The paper's |Δ|: the update norm over the number of elements of W. */
  readonly normalisedUpdate: number;
  /** The update norm over |W|. */
  readonly relativeUpdate: number;
  readonly verdict: Verdict;
  readonly solved: Solved;
}

/** What every method shares; vectors named as in the dump file. */
export interface Edit {
  readonly request: EditRequest;
  readonly layer: number;
  readonly contexts: readonly string[];
  readonly rows: EditRows;
  readonly warnings: readonly Warning[];
  readonly options: ValueOptions;
  readonly trace: readonly TraceRow[];
  readonly vectors: {
    readonly k_prompt: Float32Array<ArrayBuffer>;
    readonly k_mean: Float32Array<ArrayBuffer>;
    readonly v_prompt: Float32Array<ArrayBuffer>;
    readonly v_mean: Float32Array<ArrayBuffer>;
    readonly grad_0: Float32Array<ArrayBuffer>;
    readonly delta: Float32Array<ArrayBuffer>;
    readonly v_star: Float32Array<ArrayBuffer>;
  };
  readonly updates: ReadonlyMap<Method, Update>;
  /** Milliseconds by phase. */
  readonly timings: Readonly<Record<EditPhase, number>>;
  /** Tokens that one optimisation step ran. */
  readonly stepTokens: number;
}

/**
 * Computes an edit on the model's current weights, which stay as they are.
 *
 * @throws UsageError for a layer that is not there, or a text beyond the context window
 * @throws EditRefused when C cannot be solved
 */
export async function computeEdit(model: Model, request: EditRequest, options: EditOptions): Promise<Edit> {
  const rows = options.rows && [options.rows];
  const [edit] = await computeEdits(model, [request], { ...options, rows });
  return edit as Edit;
}

/**
 * All contexts of a fact are one pass of the model.
 *
 * @throws UsageError saying how many there may be on this adapter
 */
function checkSize({ gpu, dims }: Model, { rewrites, targetIds }: EditRows): void {
  const tokens = rewrites.reduce((sum, { ids }) => sum + ids.length, 0);
  const bytes =
    4 * Math.max(tokens * Math.max(dims.F, 3 * dims.D), rewrites.length * targetIds.length * dims.V);
  if (bytes <= gpu.maxBindingBytes) return;
  const fit = Math.floor((rewrites.length * gpu.maxBindingBytes) / bytes);
  throw new UsageError(
    `contexts: expected about ${fit} at most for this model and adapter, found ${rewrites.length}, of ${tokens} tokens together. Give fewer, or shorter ones.`,
    'too_many_contexts',
  );
}

/**
 * Computes edits that know nothing of each other: each is what `computeEdit` makes of it alone, on the same weights. Their
 * values are searched for together, as many at a time as memory allows.
 *
 * @throws as `computeEdit`
 */
export async function computeEdits(
  model: Model,
  requests: readonly EditRequest[],
  options: EditsOptions,
): Promise<Edit[]> {
  model.checkLayer('edit', options.layer);
  const rows = rowsOf(model, requests, options);
  for (const one of rows) checkSize(model, one);
  const edits: Edit[] = [];
  for (const batch of searchedTogether(model, requests, { ...options, rows })) {
    const [first = 0] = batch;
    const mine = batch.map((i) => ({ request: requests[i] as EditRequest, rows: rows[i] as EditRows }));
    const onStep: EditsOptions['onStep'] = (row, step, request) =>
      options.onStep?.(row, step, first + request);
    edits.push(...(await computeBatch(model, mine, { ...options, onStep })));
  }
  return edits;
}

/** Indices of the requests whose values `computeEdits` searches for at a time. */
export function searchedTogether(
  model: Model,
  requests: readonly EditRequest[],
  options: Pick<EditsOptions, 'contexts' | 'layer' | 'memory' | 'rows'>,
): number[][] {
  const rows = rowsOf(model, requests, options);
  return valueBatches(model.gpu, model.dims, options.layer, rows, options.memory);
}

function rowsOf(
  { tokenizer, dims }: Model,
  requests: readonly EditRequest[],
  { rows, contexts }: Pick<EditsOptions, 'contexts' | 'rows'>,
): readonly EditRows[] {
  return rows ?? requests.map((request) => editRows(tokenizer, request, contexts, dims));
}
