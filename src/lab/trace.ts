/**
 * Causal tracing of one fact: which hidden states carry it.
 *
 *   clean        the prompt as it is                                   P[o]
 *   corrupted    normal noise on the embeddings of the subject         P*[o], mean over the samples
 *   restored     corrupted, but one state is that of the clean run     P*, clean h [o]
 *   indirect effect of that state = P*, clean h [o] − P*[o];           total effect = P[o] − P*[o]
 *
 * A `state` is the residual stream after a block, restored at one token and layer. `mlp` and `attention` are what these
 * add to it, restored at one token in a window of layers around the one named. P[o] of an object of several tokens is
 * the product over them.
 *
 * The noise is the same in every run, and attention looks back only: what lies below the restored layer, and before
 * the restored token, is as in the corrupted run. So the states and the keys and values of that run are kept, and each
 * restoration runs only the layers above and the tokens from there on.
 *
 * Source: Meng et al. 2022, section 2.1; kmeng01/rome `trace_with_patch`, `trace_important_window`.
 */
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { upload } from '../tensor/tensor.ts';
import { TRACE_SITES, baselines, restore, startRuns, subjectNoise, traceText } from './trace-runs.ts';
import type { TraceRequest, TraceSite, TraceText } from './trace-runs.ts';

export interface TraceOptions {
  /** Standard deviation of the noise: 3 times that of the embeddings, as published. */
  readonly noise: number;
  /** Default 10. */
  readonly samples?: number | undefined;
  /** Layers that are restored together for `mlp` and `attention`; see `traceWindow`. */
  readonly window?: number | undefined;
  readonly sites?: readonly TraceSite[];
  readonly seed?: number;
  /** Samples that are traced together. Default: as many as have room. */
  readonly together?: number | undefined;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

export type Tracing = Awaited<ReturnType<typeof traceFact>>;

/** Tokens of one batch, and the logits alive at once, are bounded. */
const BATCH_TOKENS = 4096;
const LOGIT_BYTES = 64 * 2 ** 20;

/** 10 layers, as published for models of 48; in models of fewer than 20, a fifth of their layers. */
export function traceWindow(layers: number): number {
  return layers >= 20 ? 10 : Math.max(1, Math.round(layers / 5));
}

export function windowAround(layer: number, window: number, layers: number): [from: number, to: number] {
  return [Math.max(0, layer - Math.floor(window / 2)), Math.min(layers, layer + Math.ceil(window / 2))];
}

/**
 * @throws UsageError for a prompt without `{}`, or beyond the context window, and for noise that no state survives
 */
export async function traceFact(model: Model, request: TraceRequest, options: TraceOptions) {
  const { samples = 10, noise, seed = 0, sites = TRACE_SITES, onProgress, signal } = options;
  const { layers, D, V } = model.dims;
  const window = options.window ?? traceWindow(layers);
  const text = await traceText(model, request);
  const effects: Partial<Record<TraceSite, number[][]>> = {};
  for (const site of sites)
    effects[site] = text.ids.slice(0, text.promptLength).map(() => Array<number>(layers).fill(0));
  const parts = sampleParts(text, samples, model.dims, options.together);
  let [clean, corrupted, done] = [NaN, 0, 0];
  for (const { from, samples: some } of parts)
    await model.gpu.scope(async (s) => {
      const share = some / samples;
      const shape = { samples: some, tokens: text.ids.length, width: D, from };
      const drawn = subjectNoise(shape, text.subject, noise, seed);
      const noises = upload(s, drawn, [some * text.ids.length, D], 'noise');
      const runs = startRuns(s, model, text, some, noises);
      const base = await baselines(model, runs);
      clean = base.clean;
      corrupted += share * base.corrupted;
      const chunks = cellChunks(text, some, V);
      const total = parts.length * chunks.length * sites.length * layers;
      for (const cells of chunks)
        for (const site of sites)
          for (let layer = 0; layer < layers; layer += 1) {
            signal?.throwIfAborted();
            const layersOf =
              site === 'state' ? ([layer, layer + 1] as const) : windowAround(layer, window, layers);
            const restored = await restore(model, runs, cells, site, layersOf);
            restored.forEach((p, c) => {
              const row = effects[site]?.[cells[c] ?? 0] ?? [];
              row[layer] = (row[layer] ?? 0) + share * (p - base.corrupted);
            });
            onProgress?.((done += 1), total);
          }
    });
  if (!Number.isFinite(corrupted))
    throw new UsageError(
      `trace: expected noise under which the model still gives numbers, but with a deviation of ${noise} it gives none. Give a smaller --noise.`,
    );
  return {
    request,
    /** Of the prompt. */
    tokens: text.ids.slice(0, text.promptLength).map((id) => model.tokenizer.token(id)),
    subject: text.subject,
    object: model.tokenizer.decode(text.object),
    /** P[o] and P*[o] */
    ...{ clean, corrupted },
    ...{ noise, samples, window },
    /** Indirect effects, [tokens][layers]. */
    effects,
  };
}

/** As many samples at a time as the widest of their states, and their logits, have room for. */
export function sampleParts(
  { ids, object }: Pick<TraceText, 'ids' | 'object'>,
  samples: number,
  { F, D, V }: Pick<Model['dims'], 'F' | 'D' | 'V'>,
  together?: number,
) {
  const bytes = 4 * Math.max(ids.length * Math.max(F, 3 * D), object.length * V);
  const most = together ?? Math.max(1, Math.floor(LOGIT_BYTES / bytes));
  return Array.from({ length: Math.ceil(samples / most) }, (_, i) => ({
    from: i * most,
    samples: Math.min(most, samples - i * most),
  }));
}

/** Tokens of the prompt to restore at, in groups that fit a batch. Before the subject nothing is corrupted: the effect is 0. */
function cellChunks({ ids, promptLength, subject, object }: TraceText, samples: number, vocabulary: number) {
  const chunks: number[][] = [];
  const most = Math.max(1, Math.floor(LOGIT_BYTES / (4 * vocabulary * samples * object.length)));
  let room = 0;
  for (let token = subject[0]; token < promptLength; token += 1) {
    const cost = samples * (ids.length - token);
    const open = chunks.at(-1);
    if (!open || cost > room || open.length >= most) {
      chunks.push([token]);
      room = BATCH_TOKENS - cost;
    } else {
      open.push(token);
      room -= cost;
    }
  }
  return chunks;
}
