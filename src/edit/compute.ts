/**
 * How edits are computed, but not yet written: from requests to u and Λ of every method asked for.
 *
 *   1. contexts       x_j + prompt, the subject's last token in each                  rows.ts
 *   2. k_j, v_j       MLP keys and values there; k* = mean_j k_j                      frozen.ts
 *   3. v* = v0 + δ    optimised once, whatever the methods                            value.ts
 *   4. u              C u ∝ k*, by Cholesky                                           covariance-solver.ts
 *   5. Λ              (v* − v) / (k · u), the key and value as the method says        update.ts
 */
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/gather.ts';
import { type Tensor, indices, read } from '../tensor/tensor.ts';
import { evenly, meanRows } from './add-at-rows.ts';
import type { Solver } from './covariance-solver.ts';
import type { Edit, EditPhase, EditsOptions, Update } from './edit.ts';
import { frobenius } from './frobenius.ts';
import { openSuffix } from './frozen.ts';
import { judge } from './guard.ts';
import { type Method, type Source, METHOD_TABLE } from './method.ts';
import type { EditRequest } from './request.ts';
import type { EditRows } from './rows.ts';
import { readLambdaStats, solveLambda } from './update.ts';
import { type ValueOptions, VALUE_DEFAULTS, optimiseValues } from './value.ts';

/** Keys or values: of the bare prompt, and the mean over the contexts. */
type BySource = Readonly<Record<Source, Tensor>>;

/** u, and how well it was solved for. */
type Direction = Awaited<ReturnType<Solver['direction']>>;

/** Runs the phases of an edit one after another, and adds what each took, over `share` edits, to its milliseconds. */
export function phaseTimer<P extends string>(
  gpu: Gpu,
  timings: Record<P, number>,
  {
    signal,
    onPhase,
  }: { readonly signal?: AbortSignal | undefined; readonly onPhase?: ((phase: P) => void) | undefined },
  share = 1,
): <T>(name: P, work: () => Promise<T> | T) => Promise<T> {
  return async (name, work) => {
    signal?.throwIfAborted();
    onPhase?.(name);
    const start = performance.now();
    const result = await work();
    await gpu.sync();
    timings[name] += (performance.now() - start) / share;
    return result;
  };
}

/** Edits whose values are searched for together; each is what it would be alone. */
export async function computeBatch(
  model: Model,
  requests: readonly { readonly request: EditRequest; readonly rows: EditRows }[],
  options: EditsOptions,
): Promise<Edit[]> {
  const { gpu } = model;
  const { layer, contexts, methods, solver, onStep, signal } = options;
  const valueOptions = pickValueOptions(options);
  const timings: Record<EditPhase, number> = { contexts: 0, value: 0, solve: 0, update: 0 };
  const phase = phaseTimer(gpu, timings, options, requests.length);

  return gpu.scope(async (s) => {
    // Request r has its contexts in rows r c to r c + c − 1, the bare prompt first.
    const { suffix, keys, values } = await phase('contexts', () => {
      const all = requests.map(({ rows }) => rows);
      const suffix = openSuffix(s, model, layer, all, options.freeze);
      const c = contexts.length;
      const bare = indices(
        s,
        all.map((_, r) => r * c),
        'bare_prompts',
      );
      const bySource = (t: Tensor): BySource => ({
        prompt: gatherRows(s, t, bare),
        mean: meanRows(s, t, evenly(c)),
      });
      return { suffix, keys: bySource(suffix.keys), values: bySource(suffix.values) };
    });
    const search = { suffix, v0: values.prompt, options: valueOptions, onStep, signal };
    const optimised = await phase('value', () => optimiseValues(s, model, search));
    const w = model.editedWeight(layer).tensor;
    const size = { weightNorm: await phase('update', () => frobenius(gpu, w)), weightSize: w.size };

    const edits: Edit[] = [];
    for (const [r, { request, rows }] of requests.entries()) {
      const row = indices(s, [r], 'request');
      const own = (t: Tensor): Tensor => gatherRows(s, t, row, t.label).reshape(t.cols);
      const key: BySource = { prompt: own(keys.prompt), mean: own(keys.mean) };
      const value: BySource = { prompt: own(values.prompt), mean: own(values.mean) };
      const vStar = own(optimised.vStar);
      // Two of the three methods write along the same u: it is solved for once.
      const directions = new Map<Source, Direction>();
      await phase('solve', async () => {
        for (const source of new Set(methods.map((method) => METHOD_TABLE[method].u)))
          directions.set(source, await solver.direction(s, key[source]));
      });
      const updates = new Map<Method, Update>();
      await phase('update', async () => {
        for (const method of methods) {
          const { u: from, residual } = METHOD_TABLE[method];
          const { u, solved } = directions.get(from) as Direction;
          const terms = { vStar, value: value[residual], key: key[residual], u };
          updates.set(method, { method, layer, solved, ...(await updateOf(s, terms, size)) });
        }
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
      const { stepTokens, traces } = optimised;
      edits.push({
        ...{ request, layer, contexts, rows, warnings: rows.warnings, options: valueOptions },
        ...{ trace: traces[r] ?? [], vectors, updates, timings, stepTokens },
      });
    }
    return edits;
  });
}

/** Λ along u, and what it says of itself beside W. */
async function updateOf(
  s: Scope,
  terms: Parameters<typeof solveLambda>[1],
  { weightNorm, weightSize }: { readonly weightNorm: number; readonly weightSize: number },
): Promise<Omit<Update, 'method' | 'layer' | 'solved'>> {
  const { lambda, stats } = solveLambda(s, terms);
  const { divisor, cosine, lambdaNorm } = await readLambdaStats(s.gpu, stats);
  const updateNorm = lambdaNorm; // |u Λᵀ| = |u| |Λ|, and |u| = 1
  const relativeUpdate = updateNorm / weightNorm;
  return {
    ...{ U: await read(s.gpu, terms.u), Lambda: await read(s.gpu, lambda), rank: 1 },
    ...{ divisor, cosine, lambdaNorm, updateNorm, relativeUpdate },
    normalisedUpdate: updateNorm / weightSize,
    verdict: judge(cosine, relativeUpdate),
  };
}

/** The options of the search alone, and the usual ones where nothing is said. */
function pickValueOptions(options: Partial<ValueOptions>): ValueOptions {
  const keys = Object.keys(VALUE_DEFAULTS) as (keyof ValueOptions)[];
  const picked = keys.map((key) => [key, options[key] ?? VALUE_DEFAULTS[key]]);
  return Object.fromEntries(picked) as unknown as ValueOptions;
}
