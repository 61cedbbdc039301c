/**
 * One edit, computed but not yet written: from a request to u and Λ of every method asked for.
 *
 *   1. contexts       x_j + prompt, the subject's last token in each                  rows.ts
 *   2. k_j, v_j       MLP keys and values there; k* = mean_j k_j                      frozen.ts
 *   3. v* = v0 + δ    optimised once, whatever the methods                            value.ts
 *   4. u              C u ∝ k*, by Cholesky                                           solve.ts
 *   5. Λ              (v* − v) / (k · u), the key and value as the method says        update.ts
 */
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/gather.ts';
import { indices, read } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { openSuffix } from './frozen.ts';
import { judge } from './guard.ts';
import type { Verdict } from './guard.ts';
import { METHOD_TABLE } from './method.ts';
import type { Method, Source } from './method.ts';
import type { EditRequest, Warning } from './request.ts';
import { editRows } from './rows.ts';
import type { EditRows } from './rows.ts';
import type { Solved, Solver } from './covariance-solver.ts';
import type { TraceRow } from './value-loss.ts';
import { evenly, meanRows } from './add-at-rows.ts';
import { frobenius } from './frobenius.ts';
import { readLambdaStats, solveLambda } from './update.ts';
import type { LowRankUpdate } from './update.ts';
import { valueBatches } from './value-batches.ts';
import { VALUE_DEFAULTS, optimiseValues } from './value.ts';
import type { ValueOptions } from './value.ts';

export interface EditOptions extends Partial<ValueOptions> {
  readonly methods: readonly Method[];
  readonly layer: number;
  /** Templates with one `{}` each, `"{}"` first. */
  readonly contexts: readonly string[];
  /** Solves C x = k: from a covariance, or the identity. */
  readonly solver: Solver;
  /** false: every step runs the whole model, for comparison. Default true. */
  readonly freeze?: boolean | undefined;
  /** The request in its contexts, where it has been tokenised already. */
  readonly rows?: EditRows | undefined;
  readonly onStep?: ((row: TraceRow, step: number) => void) | undefined;
  /** Called as each phase begins. */
  readonly onPhase?: ((phase: EditPhase) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

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

/** What several requests have in common, and theirs in the order of the requests. */
export interface EditsOptions extends Omit<EditOptions, 'rows' | 'onStep'> {
  readonly rows?: readonly EditRows[] | undefined;
  readonly onStep?: ((row: TraceRow, step: number, request: number) => void) | undefined;
  /** Bytes that the search of several values at a time may take on the GPU. */
  readonly memory?: number | undefined;
}

/** What a run of edits has in common, whatever the facts and methods. */
export type EditSettings = Omit<EditsOptions, 'methods' | 'signal' | 'rows' | 'onStep'>;

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
  const { layer, contexts } = options;
  model.checkLayer('edit', layer);
  const rows =
    options.rows ?? requests.map((request) => editRows(model.tokenizer, request, contexts, model.dims));
  for (const one of rows) checkSize(model, one);
  const edits: Edit[] = [];
  for (const batch of valueBatches(model.gpu, model.dims, layer, rows, options.memory)) {
    const [first = 0] = batch;
    const mine = batch.map((i) => ({ request: requests[i] as EditRequest, rows: rows[i] as EditRows }));
    const onStep = options.onStep && stepOf(options.onStep, first);
    edits.push(...(await computeBatch(model, mine, { ...options, onStep })));
  }
  return edits;
}

function stepOf(onStep: NonNullable<EditsOptions['onStep']>, first: number): EditsOptions['onStep'] {
  return (row, step, request) => onStep(row, step, first + request);
}

/** Keys and values of every request: of its bare prompt, and the mean over its contexts. */
type BySource = Readonly<Record<Source, Tensor>>;

async function computeBatch(
  model: Model,
  requests: readonly { readonly request: EditRequest; readonly rows: EditRows }[],
  options: EditsOptions,
): Promise<Edit[]> {
  const { layer, contexts, methods, solver } = options;
  const valueOptions = pickValueOptions(options);
  const timings: Record<EditPhase, number> = { contexts: 0, value: 0, solve: 0, update: 0 };
  const gpu = model.gpu;

  const phase = async <T>(name: EditPhase, work: () => Promise<T> | T): Promise<T> => {
    options.signal?.throwIfAborted();
    options.onPhase?.(name);
    const start = performance.now();
    const result = await work();
    await gpu.sync();
    timings[name] += (performance.now() - start) / requests.length;
    return result;
  };

  return gpu.scope(async (s) => {
    const { suffix, keys, values } = await phase('contexts', () => {
      const suffix = openSuffix(
        s,
        model,
        layer,
        requests.map(({ rows }) => rows),
        options.freeze,
      );
      const c = contexts.length;
      const bare = indices(
        s,
        requests.map((_, r) => r * c),
        'bare_prompts',
      );
      const bySource = (all: Tensor): BySource => ({
        prompt: gatherRows(s, all, bare),
        mean: meanRows(s, all, evenly(c)),
      });
      return { suffix, keys: bySource(suffix.keys), values: bySource(suffix.values) };
    });

    const optimised = await phase('value', () =>
      optimiseValues(s, model, {
        suffix,
        v0: values.prompt,
        options: valueOptions,
        onStep: options.onStep,
        signal: options.signal,
      }),
    );

    const weight = model.editedWeight(layer).tensor;
    const weightNorm = await phase('update', () => frobenius(gpu, weight));
    const edits: Edit[] = [];
    for (const [r, { request, rows }] of requests.entries()) {
      const own = (all: Tensor): Tensor =>
        requests.length === 1
          ? all.reshape(all.cols)
          : gatherRows(s, all, indices(s, [r], 'request'), all.label).reshape(all.cols);
      const of = (all: BySource): BySource => ({ prompt: own(all.prompt), mean: own(all.mean) });
      const [key, value, vStar] = [of(keys), of(values), own(optimised.vStar)];

      const us = await phase('solve', async () => {
        const found = new Map<Source, { u: Tensor; solved: Solved }>();
        for (const source of new Set(methods.map((method) => METHOD_TABLE[method].u)))
          found.set(source, await solver.direction(s, key[source]));
        return found;
      });

      const updates = await phase('update', async () => {
        const found = new Map<Method, Update>();
        for (const method of methods) {
          const row = METHOD_TABLE[method];
          const { u, solved } = us.get(row.u) as { u: Tensor; solved: Solved };
          const { lambda, stats } = solveLambda(s, {
            vStar,
            value: value[row.residual],
            key: key[row.residual],
            u,
          });
          const { divisor, cosine, lambdaNorm } = await readLambdaStats(gpu, stats);
          const updateNorm = lambdaNorm; // |u Λᵀ| = |u| |Λ|, and |u| = 1
          const relativeUpdate = updateNorm / weightNorm;
          found.set(method, {
            method,
            layer,
            U: await read(gpu, u),
            Lambda: await read(gpu, lambda),
            rank: 1,
            divisor,
            cosine,
            lambdaNorm,
            updateNorm,
            normalisedUpdate: updateNorm / weight.size,
            relativeUpdate,
            verdict: judge(cosine, relativeUpdate),
            solved,
          });
        }
        return found;
      });

      const vectors = {
        k_prompt: await read(gpu, key.prompt),
        k_mean: await read(gpu, key.mean),
        v_prompt: await read(gpu, value.prompt),
        v_mean: await read(gpu, value.mean),
        grad_0: await read(gpu, own(optimised.gradient0)),
        delta: await read(gpu, own(optimised.delta)),
        v_star: await read(gpu, vStar),
      };
      edits.push({
        request,
        layer,
        contexts,
        rows,
        warnings: rows.warnings,
        options: valueOptions,
        trace: optimised.traces[r] ?? [],
        vectors,
        updates,
        timings,
        stepTokens: optimised.stepTokens,
      });
    }
    return edits;
  });
}

function pickValueOptions(options: Partial<ValueOptions>): ValueOptions {
  const picked: { -readonly [K in keyof ValueOptions]: number } = { ...VALUE_DEFAULTS };
  for (const key of Object.keys(VALUE_DEFAULTS) as (keyof ValueOptions)[]) {
    const value = options[key];
    if (value !== undefined) picked[key] = value;
  }
  return picked;
}
