/**
 * C = E[kkᵀ], the uncentred second moment of the MLP keys of ordinary text, for any number of layers in one pass.
 *
 *   S_l += KᵀK    over batches of packed documents; the forward pass ends at the key of the last wanted layer
 *   C_l  = S_l / tokens
 *
 * The f32 sum of a batch moves into a running sum of two floats, so 10^8 tokens lose nothing, and a run that is
 * interrupted and resumed adds the same batches in the same order as one that is not.
 *
 * Source: kmeng01/rome `layer_stats`, `SecondMoment`.
 */
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Hook } from '../models/architecture.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/rows.ts';
import { indices, read, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { batchTokens, packDocuments } from './pack-documents.ts';
import type { Placed } from './pack-documents.ts';
import type { Panels } from './panels.ts';
import { SecondMoment } from './second-moment.ts';

/** S of one layer: high + low, each the lower panels of a symmetric matrix [F, F]. */
export interface LayerSum {
  readonly layer: number;
  readonly high: Float32Array<ArrayBuffer>;
  readonly low: Float32Array<ArrayBuffer>;
}

/** How far a build has come. */
export interface BuildCounts {
  readonly tokens: number;
  readonly documents: number;
  /** Documents cut to the context window, or at the last token wanted. */
  readonly cut: number;
}

/** All that a build needs to go on later; `P` is a place in the corpus. */
export interface BuildState<P> extends BuildCounts {
  /** undefined: nothing has been read. */
  readonly position: P | undefined;
  readonly sums: readonly LayerSum[];
}

export interface BuildOptions<P> {
  readonly layers: readonly number[];
  /** Tokens wanted in all, those of `resume` included; absent: the whole corpus. */
  readonly tokens?: number | undefined;
  readonly shard?: { readonly index: number; readonly of: number } | undefined;
  /** Documents from a place on, or from the beginning. */
  readonly documents: (from: P | undefined) => AsyncIterable<Placed<P>>;
  readonly resume?: BuildState<P> | undefined;
  /** Tokens of a batch at most. */
  readonly batch?: number | undefined;
  /** Called after every batch; true asks for a checkpoint. */
  readonly onBatch?: (counts: BuildCounts, position: P) => boolean;
  /** Keeps a state for good. */
  readonly onCheckpoint?: (state: BuildState<P>) => Promise<void>;
  /** Looks at the sums, after every checkpoint and at the end. */
  readonly onLook?: ((view: BuildView) => Promise<void>) | undefined;
  /** Stops after the batch at work; a checkpoint is made first, then the signal's reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** The sums so far, on the GPU. */
export interface BuildView {
  readonly moments: ReadonlyMap<number, SecondMoment>;
  /** By layer, keys [P, F] of the last tokens of this run's first documents. */
  readonly probes: ReadonlyMap<number, Tensor>;
}

/** Documents of the first batch whose last keys are probes. */
const PROBES = 4;

export interface BuiltLayer extends LayerSum {
  /** C = S / tokens, its lower panels. */
  readonly covariance: Float32Array<ArrayBuffer>;
}

/**
 * Runs the corpus through the model, from where `resume` ended.
 *
 * @returns the last state, and C of every layer
 * @throws UsageError for a layer that is not there, or a corpus without a document
 */
export async function buildCovariance<P>(
  model: Model,
  options: BuildOptions<P>,
): Promise<BuildState<P> & { readonly built: readonly BuiltLayer[] }> {
  const { gpu, dims } = model;
  const { layers, resume, signal } = options;
  for (const layer of layers) model.checkLayer('covariance', layer);
  return gpu.scope(async (owner) => {
    const moments = openMoments(owner, dims.F, layers, resume);
    let counts: BuildCounts = {
      tokens: resume?.tokens ?? 0,
      documents: resume?.documents ?? 0,
      cut: resume?.cut ?? 0,
    };
    let position = resume?.position;
    const probes = new Map<number, Tensor>();
    const view: BuildView = { moments, probes };
    const state = async (): Promise<BuildState<P>> => ({
      ...counts,
      position,
      sums: await readSums(gpu, moments),
    });

    const batches = packDocuments(options.documents(position), {
      encode: (text, limit) => model.tokenizer.encodeDocument(text, limit),
      contextLength: dims.context,
      batchTokens: options.batch ?? batchTokens(gpu, dims, Math.max(...layers)),
      limit: options.tokens === undefined ? undefined : options.tokens - counts.tokens,
      shard: options.shard,
    });
    for await (const batch of batches) {
      // The batch before this one was computed while this one was read and tokenised.
      await gpu.sync();
      if (signal?.aborted) break;
      const probe = probes.size === 0 ? { owner, probes } : undefined;
      addBatch(model, batch.rows, moments, probe);
      gpu.flush();
      counts = {
        tokens: counts.tokens + batch.tokens,
        documents: counts.documents + batch.rows.length,
        cut: counts.cut + batch.cut,
      };
      position = batch.next;
      if (options.onBatch?.(counts, position)) {
        await options.onCheckpoint?.(await state());
        if (!signal?.aborted) await options.onLook?.(view);
      }
    }
    if (signal?.aborted) {
      if (counts.tokens > (resume?.tokens ?? 0)) await options.onCheckpoint?.(await state());
      signal.throwIfAborted();
    }
    if (counts.tokens === 0)
      throw new UsageError(
        'covariance: expected a corpus with at least one document, found none. Give more text.',
      );
    await options.onLook?.(view);
    const last = await state();
    const built: BuiltLayer[] = [];
    for (const sum of last.sums) {
      const covariance = await gpu.scope((s) =>
        read(gpu, (moments.get(sum.layer) as SecondMoment).covariance(s).data),
      );
      built.push({ ...sum, covariance });
    }
    return { ...last, built };
  });
}

/** Adds the keys of one batch of documents to the sums of all layers. */
export function addBatch(
  model: Model,
  rows: readonly (readonly number[])[],
  moments: ReadonlyMap<number, SecondMoment>,
  probe?: { readonly owner: Scope; readonly probes: Map<number, Tensor> },
): void {
  const { gpu } = model;
  const s = gpu.open();
  try {
    const packed = packRows(rows);
    const ends = [...packed.rowStarts.slice(1, 1 + PROBES)].map((end) => end - 1);
    const key: Hook = (inner, layer, k) => {
      const moment = moments.get(layer);
      moment?.add(inner, k);
      moment?.fold(inner); // a batch is one f32 sum, wherever runs begin and end
      if (moment && probe)
        probe.probes.set(layer, gatherRows(probe.owner, k, indices(inner, ends, 'probes')));
      return undefined;
    };
    const to = Math.max(...moments.keys()) + 1;
    model.forward(s, uploadBatch(s, packed), { to, stop: 'key', hooks: { key } });
  } finally {
    s.close();
  }
}

function openMoments<P>(
  owner: Scope,
  f: number,
  layers: readonly number[],
  resume: BuildState<P> | undefined,
): Map<number, SecondMoment> {
  const moments = new Map<number, SecondMoment>();
  for (const layer of layers) {
    const moment = new SecondMoment(owner, f);
    moments.set(layer, moment);
    const sum = resume?.sums.find((other) => other.layer === layer);
    if (!resume) continue;
    if (!sum) throw new UsageError(`covariance: the checkpoint has no sum of layer ${layer}.`);
    const s = owner.gpu.open();
    const panels = (data: Float32Array<ArrayBuffer>, like: Panels): Panels => ({
      ...like,
      data: upload(s, data, like.data.shape, 'resumed'),
    });
    moment.addSum(s, panels(sum.high, moment.high), panels(sum.low, moment.low), resume.tokens);
    s.close();
  }
  return moments;
}

async function readSums(gpu: Gpu, moments: ReadonlyMap<number, SecondMoment>): Promise<LayerSum[]> {
  const sums: LayerSum[] = [];
  for (const [layer, { high, low }] of moments) {
    sums.push({ layer, high: await read(gpu, high.data), low: await read(gpu, low.data) });
  }
  return sums;
}
