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
import type { Scope } from '../gpu/scope.ts';
import type { Hook } from '../models/architecture.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/gather.ts';
import { type Tensor, indices } from '../tensor/tensor.ts';
import { type Placed, batchTokens, packDocuments } from './pack-documents.ts';
import { readPanels, uploadPanels } from './panels.ts';
import { SecondMoment } from './second-moment.ts';

/** S of one layer: high + low, each the lower panels of a symmetric matrix [F, F]. */
export interface LayerSum {
  readonly layer: number;
  readonly high: Float32Array<ArrayBuffer>;
  readonly low: Float32Array<ArrayBuffer>;
}

/** How far a build has come. */
export interface BuildCounts {
  /** Tokens read. */
  readonly tokens: number;
  /** Of these, special ones whose keys are not in the sums. */
  readonly skipped?: number | undefined;
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

export interface CorpusOptions<P> {
  /** Documents from a place on, or from the beginning. */
  readonly documents: (from: P | undefined) => AsyncIterable<Placed<P>>;
  /** Tokens wanted in all, those of an earlier run included; absent: the whole corpus. */
  readonly tokens?: number | undefined;
  readonly shard?: { readonly index: number; readonly of: number } | undefined;
  /** Tokens of a batch at most. */
  readonly batch?: number | undefined;
  /** Ends the run after the batch at work. */
  readonly signal?: AbortSignal | undefined;
}

export interface BuildOptions<P> extends CorpusOptions<P> {
  readonly layers: readonly number[];
  /**
   * Leaves the keys of special tokens out. A BOS key can be hundreds of times as long as all others: one direction of C
   * then stands for it alone. Default false, as the published code does.
   */
  readonly skipSpecial?: boolean | undefined;
  /** Where an earlier build ended. */
  readonly resume?: BuildState<P> | undefined;
}

export interface BuiltLayer extends LayerSum {
  /** C = S / tokens, its lower panels. */
  readonly covariance: Float32Array<ArrayBuffer>;
}

/** A finished build: its last state, and C of every layer. */
export interface Built<P> extends BuildState<P> {
  readonly built: readonly BuiltLayer[];
}

/** Documents of the first batch whose last keys are probes. */
const PROBES = 4;

/** A build at work: the sums on the GPU, which end with the scope `owner`. */
export class CovarianceBuild<P> {
  /** By layer. */
  readonly moments: ReadonlyMap<number, SecondMoment>;
  /** By layer, keys [P, F] of the last tokens of this run's first documents. */
  readonly probes = new Map<number, Tensor>();
  readonly #model: Model;
  readonly #owner: Scope;
  readonly #skipSpecial: boolean;
  #counts: BuildCounts;
  #position: P | undefined;

  /** @throws UsageError for a layer that is not there */
  constructor(
    owner: Scope,
    model: Model,
    { layers, resume, skipSpecial = false }: Pick<BuildOptions<P>, 'layers' | 'resume' | 'skipSpecial'>,
  ) {
    this.#skipSpecial = skipSpecial;
    for (const layer of layers) model.checkLayer('covariance', layer);
    this.#model = model;
    this.#owner = owner;
    this.moments = openMoments(owner, model.dims.F, layers, resume);
    const { tokens = 0, skipped = 0, documents = 0, cut = 0, position } = resume ?? {};
    this.#counts = { tokens, skipped, documents, cut };
    this.#position = position;
  }

  get counts(): BuildCounts {
    return this.#counts;
  }

  /**
   * Adds the documents of a corpus from where the build stands, and yields the place after every batch. It ends with
   * the corpus, at the number of tokens wanted, or when the signal is aborted.
   */
  async *run(options: CorpusOptions<P>): AsyncGenerator<P, void, void> {
    const { gpu, dims, tokenizer } = this.#model;
    const { documents, tokens, shard, signal } = options;
    const batches = packDocuments(documents(this.#position), {
      encode: (text, limit) => tokenizer.encodeDocument(text, limit),
      contextLength: dims.context,
      batchTokens: options.batch ?? batchTokens(gpu, dims, Math.max(...this.moments.keys())),
      limit: tokens === undefined ? undefined : tokens - this.#counts.tokens,
      shard,
    });
    for await (const { rows, tokens: added, cut, next } of batches) {
      // The batch before this one was computed while this one was read and tokenised.
      await gpu.sync();
      if (signal?.aborted) return;
      const skipped = this.add(rows);
      gpu.flush();
      const before = this.#counts;
      this.#counts = {
        tokens: before.tokens + added,
        skipped: (before.skipped ?? 0) + skipped,
        documents: before.documents + rows.length,
        cut: before.cut + cut,
      };
      this.#position = next;
      yield next;
      if (signal?.aborted) return;
    }
  }

  /** Adds the keys of one batch of documents to the sums of all layers; gives how many special tokens were left out. */
  add(rows: readonly (readonly number[])[]): number {
    const { tokenizer } = this.#model;
    const skip = (id: number): boolean => this.#skipSpecial && tokenizer.isSpecial(id);
    const first = this.probes.size === 0;
    return this.#model.gpu.record((s) => {
      const batch = packRows(rows);
      const ends = [...batch.rowStarts.slice(1, 1 + PROBES)].map((end) => end - 1);
      const kept = [...batch.ids.keys()].filter((t) => !skip(batch.ids[t] as number));
      const key: Hook = (inner, layer, k) => {
        const moment = this.moments.get(layer);
        if (!moment) return;
        if (kept.length === k.rows) moment.add(inner, k);
        else if (kept.length > 0) moment.add(inner, gatherRows(inner, k, indices(inner, kept, 'kept')));
        moment.fold(inner); // a batch is one f32 sum, wherever runs begin and end
        if (first) this.probes.set(layer, gatherRows(this.#owner, k, indices(inner, ends, 'probes')));
      };
      const to = Math.max(...this.moments.keys()) + 1;
      this.#model.forward(s, uploadBatch(s, batch), { to, stop: 'key', hooks: { key } });
      return batch.ids.length - kept.length;
    });
  }

  /** All that it takes to go on later, read from the GPU. */
  async state(): Promise<BuildState<P>> {
    const sums: LayerSum[] = [];
    for (const [layer, { high, low }] of this.moments) {
      const { gpu } = this.#model;
      sums.push({ layer, high: await readPanels(gpu, high), low: await readPanels(gpu, low) });
    }
    return { ...this.#counts, position: this.#position, sums };
  }

  /** @throws UsageError when no document was added */
  async finish(): Promise<Built<P>> {
    if (this.#counts.tokens === 0)
      throw new UsageError(
        'covariance: expected a corpus with at least one document, found none. Give more text.',
      );
    const { gpu } = this.#model;
    const state = await this.state();
    const built: BuiltLayer[] = [];
    for (const sum of state.sums) {
      const moment = this.moments.get(sum.layer) as SecondMoment;
      built.push({ ...sum, covariance: await gpu.scope((s) => readPanels(gpu, moment.covariance(s))) });
    }
    return { ...state, built };
  }
}

/**
 * C of a corpus from beginning to end, nothing saved in between.
 *
 * @throws UsageError for a layer that is not there, or a corpus without a document; the signal's reason
 */
export async function buildCovariance<P>(model: Model, options: BuildOptions<P>): Promise<Built<P>> {
  return model.gpu.scope(async (owner) => {
    const build = new CovarianceBuild<P>(owner, model, options);
    for await (const _ of build.run(options)) options.signal?.throwIfAborted();
    options.signal?.throwIfAborted();
    return build.finish();
  });
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
    owner.gpu.record((s) => {
      const [high, low] = [uploadPanels(s, sum.high, f, 'resumed'), uploadPanels(s, sum.low, f, 'resumed')];
      moment.addSum(s, high, low, resume.tokens - (resume.skipped ?? 0));
    });
  }
  return moments;
}
