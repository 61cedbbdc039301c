/**
 * Many facts at once, spread over several layers: MEMIT, EMMET, ENCORE, AlphaEdit.
 *
 *   1. z = h + δ       the stream after the last edited layer at the subject's last token; all requests
 *                      together                                                             value.ts
 *   2. for each layer, ascending, i of n:
 *      K [N, F]        keys, as the layers before now make them                              capture.ts
 *      R [N, D]        (z − h) / (n − i), h what the stream now is
 *      W += U          the formula of the method's metric                                    mass-update.ts
 *
 * Source: Meng et al. 2023, section 4.3; kmeng01/memit `execute_memit`. ENCORE remembers keys as they are in step 2,
 * AlphaEdit those that the written layers make.
 */
import { EditRefused } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/gather.ts';
import { type Tensor, indices, read, upload } from '../tensor/tensor.ts';
import { applyEdits, keepWeights } from './apply.ts';
import { type ContextGroups, atLookups, groupWeights, keysOf } from './capture.ts';
import { phaseTimer } from './compute.ts';
import { frobenius, frobeniusDifference } from './frobenius.ts';
import { openSuffix } from './frozen.ts';
import { massUpdate } from './mass-update.ts';
import type { Metric } from './metric.ts';
import { type MassMethod, METHOD_TABLE } from './method.ts';
import type { EditRows } from './rows.ts';
import type { LowRankUpdate } from './update.ts';
import { valueBatches } from './value-batches.ts';
import { type ValueOptions, VALUE_DEFAULTS, optimiseValues } from './value.ts';
import type { TraceRow } from './value-loss.ts';

/** As published for GPT-2 XL: δ is measured by the stream, which is longer than what one MLP adds. */
export const MASS_VALUE_DEFAULTS: ValueOptions = { ...VALUE_DEFAULTS, clamp: 0.75 };

export interface MassEditOptions {
  readonly method: MassMethod;
  /** Ascending; δ is added after the last one. */
  readonly layers: readonly number[];
  readonly contexts: ContextGroups;
  /** Of each layer. */
  readonly metrics: ReadonlyMap<number, Metric>;
  readonly value: ValueOptions;
  /** Bytes that the search of values may take on the GPU. */
  readonly memory?: number | undefined;
  readonly freeze?: boolean | undefined;
  /** [N, D] values that are known already: they are not searched for. */
  readonly z?: Float32Array<ArrayBuffer> | undefined;
  /** Called as facts have their values, and as each phase begins. */
  readonly onValues?: ((done: number, total: number) => void) | undefined;
  readonly onPhase?: ((phase: MassPhase) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type MassPhase = 'value' | 'keys' | 'update';

/** Keys of earlier facts, [M, F] by layer and batch. */
export type PastKeys = Map<number, Float32Array<ArrayBuffer>[]>;

/** What one layer got. */
export interface LayerUpdate extends LowRankUpdate {
  /** [N, F] and [N, D] */
  readonly K: Float32Array<ArrayBuffer>;
  readonly R: Float32Array<ArrayBuffer>;
  /** Of the equation; and |K U − R| / |R|, what is left undone. */
  readonly residual: number;
  readonly undone: number;
  readonly updateNorm: number;
  /** Over |W|. */
  readonly relativeUpdate: number;
}

export interface MassEdit {
  /** [N, D] */
  readonly z: Float32Array<ArrayBuffer>;
  readonly layers: readonly LayerUpdate[];
  /** Of each fact, one row a step. */
  readonly traces: readonly (readonly TraceRow[])[];
  /** What later batches keep, by layer [N, F]; empty where the method keeps nothing. */
  readonly kept: ReadonlyMap<number, Float32Array<ArrayBuffer>>;
  /** Milliseconds by phase. */
  readonly timings: Readonly<Record<MassPhase, number>>;
}

/**
 * Writes facts into the model's current weights, where they stay; `keepWeights` before it is the way back. If it fails,
 * the weights are as they were.
 *
 * @param requests the facts in all contexts, groups one after another
 * @param past     keys of earlier batches, which this one adds its own to
 */
export async function writeFacts(
  model: Model,
  requests: readonly EditRows[],
  options: MassEditOptions,
  past: PastKeys = new Map(),
): Promise<MassEdit> {
  const { method, layers, contexts, metrics } = options;
  const last = layers.at(-1);
  if (last === undefined || requests.length === 0) throw new RangeError('writeFacts: no layer, or no fact.');
  for (const layer of layers) model.checkLayer(method, layer);
  const gpu = model.gpu;
  const timings: Record<MassPhase, number> = { value: 0, keys: 0, update: 0 };
  const phase = phaseTimer(gpu, timings, options);
  const texts = requests.flatMap(({ rewrites }) => rewrites);
  const bare = requests.flatMap(({ rewrites }) => rewrites.slice(0, 1));
  const weights = groupWeights(contexts);
  const remembers = METHOD_TABLE[method].past;
  const kept = new Map<number, Float32Array<ArrayBuffer>>();
  const before = keepWeights(model, layers);
  let isWritten = false;
  try {
    return await gpu.scope(async (s) => {
      const { z, traces } = await phase('value', () =>
        options.z ? { z: options.z, traces: [] } : searchValues(model, last, requests, options),
      );
      const done: LayerUpdate[] = [];
      for (const [i, layer] of layers.entries()) {
        const { K, R } = await phase('keys', async () => {
          const h = await read(gpu, atLookups(s, model, last, 'stream', bare));
          const share = layers.length - i;
          const lacking = z.map((value, e) => (value - (h[e] ?? NaN)) / share);
          return { K: keysOf(s, model, layer, texts, weights), R: lacking };
        });
        const update = await phase('update', async () => {
          const request = {
            ...{ K, R: upload(s, R, [requests.length, model.dims.D], 'R') },
            past: pastOf(s, past.get(layer) ?? [], model.dims.F),
          };
          const { U, Lambda, rank, residual, undone } = await massUpdate(
            s,
            metrics.get(layer) as Metric,
            request,
          );
          return { layer, U: await read(gpu, U), Lambda: await read(gpu, Lambda), rank, residual, undone };
        });
        await applyEdits(model, [update]);
        const w = model.editedWeight(layer).tensor;
        const w0 = before.before.get(layer) as Tensor;
        const updateNorm = await frobeniusDifference(gpu, w, w0);
        const relativeUpdate = updateNorm / (await frobenius(gpu, w0));
        const found = { K: await read(gpu, K), R };
        if (!Number.isFinite(updateNorm))
          throw new EditRefused(
            `${METHOD_TABLE[method].title}: the update of layer ${layer} is not finite, so nothing was written. Give a larger weight, or fewer facts at a time.`,
            'disabling',
          );
        done.push({ ...update, ...found, updateNorm, relativeUpdate });
        if (remembers === 'before') kept.set(layer, found.K);
      }
      if (remembers === 'after')
        for (const layer of layers)
          kept.set(layer, await phase('keys', () => read(gpu, keysOf(s, model, layer, texts, weights))));
      for (const [layer, K] of kept) past.set(layer, [...(past.get(layer) ?? []), K]);
      isWritten = true;
      return { z, layers: done, traces, kept, timings };
    });
  } finally {
    if (isWritten) before.drop();
    else before.revert();
  }
}

/** z [N, D] of requests on the model as it is, to be written later: `z` of the options. */
export async function findValues(
  model: Model,
  requests: readonly EditRows[],
  options: MassEditOptions,
): Promise<Float32Array<ArrayBuffer>> {
  return (await searchValues(model, options.layers.at(-1) as number, requests, options)).z;
}

/** z [N, D], as many requests at a time as memory allows. */
async function searchValues(
  model: Model,
  layer: number,
  requests: readonly EditRows[],
  { value, memory, freeze, onValues, signal }: MassEditOptions,
): Promise<{ z: Float32Array<ArrayBuffer>; traces: TraceRow[][] }> {
  const { gpu, dims } = model;
  const z = new Float32Array(requests.length * dims.D);
  const traces: TraceRow[][] = [];
  for (const batch of valueBatches(gpu, dims, layer, requests, memory)) {
    const [first = 0] = batch;
    const rows = batch.map((i) => requests[i] as EditRows);
    await gpu.scope(async (s) => {
      const suffix = openSuffix(s, model, layer, rows, freeze);
      const contexts = suffix.streams.rows / rows.length;
      const bare = indices(
        s,
        rows.map((_, r) => r * contexts),
        'bare_prompts',
      );
      const v0 = gatherRows(s, suffix.streams, bare);
      const found = await optimiseValues(s, model, { suffix, v0, options: value, signal });
      z.set(await read(gpu, found.vStar), first * dims.D);
      traces.push(...found.traces);
    });
    onValues?.(traces.length, requests.length);
  }
  return { z, traces };
}

function pastOf(s: Scope, blocks: readonly Float32Array<ArrayBuffer>[], F: number): Tensor | undefined {
  const rows = blocks.reduce((sum, block) => sum + block.length / F, 0);
  if (rows === 0) return undefined;
  const all = new Float32Array(rows * F);
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return upload(s, all, [rows, F], 'past_keys');
}
