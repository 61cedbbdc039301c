/**
 * A decoder with its weights on the GPU: embedding, blocks, logits.
 *
 * T tokens of all rows of a batch lie one after another, never padded; the stream x is [T, D]. What a block computes is
 * written in the file of its architecture, `gpt2.ts` for GPT-2.
 */
import { ModelError, UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { add } from '../tensor/elementwise.ts';
import { gatherRows } from '../tensor/gather.ts';
import { type MatmulOptions, matmul } from '../tensor/matmul.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type {
  Architecture,
  BlockRun,
  Dimensions,
  EditedWeight,
  Hooks,
  Stop,
  Weights,
} from './architecture.ts';
import { attention } from './attention.ts';
import type { GpuBatch } from './batch.ts';
import type { Checkpoint } from './checkpoint.ts';
import { embed } from './embed.ts';
import { layernorm } from './layernorm.ts';
import type { PrefixCache } from './prefix-cache.ts';
import { rope } from './rope.ts';
import { Tokenizer } from './tokenizer.ts';
import { type LoadOptions, loadWeights } from './weights.ts';

export interface ForwardOptions {
  /** [T, D] the stream that enters block `from`, which stays the caller's; absent: the embedding. */
  readonly x?: Tensor | undefined;
  /** The first block that runs; 0 where absent. */
  readonly from?: number | undefined;
  /** The first block that does not run; absent: all run. */
  readonly to?: number | undefined;
  /** Ends the pass within its last block. */
  readonly stop?: Stop | undefined;
  /**
   * u32 [R]: the rows that are wanted of what the pass returns; absent: all. Beyond attention, its last block computes
   * no others, and its hooks see no others; `qkv` sees all.
   */
  readonly rows?: Tensor | undefined;
  /** Keys and values of the tokens that the batch left out. */
  readonly cache?: PrefixCache | undefined;
  readonly hooks?: Hooks | undefined;
}

export class Model {
  readonly gpu: Gpu;
  readonly id: string;
  readonly architecture: Architecture;
  readonly tokenizer: Tokenizer;
  readonly weights: Weights;
  /** How matrices are stored, but for those that are edited. */
  readonly storage: 'f32' | 'f16';
  /** sha256 of the weights file. */
  readonly sha256: string;
  readonly #owner: Scope;

  private constructor(
    owner: Scope,
    checkpoint: Checkpoint,
    loaded: Pick<Model, 'tokenizer' | 'weights' | 'storage' | 'sha256'>,
  ) {
    this.gpu = owner.gpu;
    this.id = checkpoint.id;
    this.architecture = checkpoint.architecture;
    this.tokenizer = loaded.tokenizer;
    this.weights = loaded.weights;
    this.storage = loaded.storage;
    this.sha256 = loaded.sha256;
    this.#owner = owner;
  }

  /** @throws ModelError when the checkpoint does not fit together */
  static async load(gpu: Gpu, checkpoint: Checkpoint, options: LoadOptions = {}): Promise<Model> {
    const tokenizer = openTokenizer(checkpoint);
    const owner = gpu.open();
    try {
      const weights = await loadWeights(owner, checkpoint, options);
      const { storage = 'f32' } = options;
      const sha256 = await checkpoint.sha256();
      return new Model(owner, checkpoint, { tokenizer, weights, storage, sha256 });
    } catch (error) {
      owner.close();
      throw error;
    }
  }

  destroy(): void {
    this.#owner.close();
  }

  get dims(): Dimensions {
    return this.architecture.dims;
  }

  /** The matrix that an edit of this layer changes. */
  editedWeight(layer: number): EditedWeight & { readonly tensor: Tensor } {
    const edited = this.architecture.editedWeight(layer);
    return { ...edited, tensor: this.weights(edited.name) };
  }

  /**
   * @param who begins the message: who asks for the layer
   * @throws UsageError naming the layers there are
   */
  checkLayer(who: string, layer: number): void {
    const last = this.dims.layers - 1;
    if (!Number.isInteger(layer) || layer < 0 || layer > last)
      throw new UsageError(
        `${who}: layer ${layer} does not exist; ${this.id} has layers 0 to ${last}. Choose one of these with --layer.`,
      );
  }

  /** The stream that enters the first block, [T, D]. */
  embed(s: Scope, batch: GpuBatch): Tensor {
    const { embedding, positions } = this.architecture;
    const wpe = positions === undefined ? undefined : this.weights(positions);
    return embed(s, this.weights(embedding), wpe, batch);
  }

  /**
   * The stream after the last block that runs, [T, D] or the rows that are wanted; with a stop, what stands there: q k v
   * of all tokens, or the key.
   *
   * Without a tape, what a block computes returns to the pool as soon as the block is done.
   */
  forward(s: Scope, batch: GpuBatch, options: ForwardOptions = {}): Tensor {
    const { x, from = 0, to = this.dims.layers, cache, hooks = {} } = options;
    const { weights } = this;
    const { block, heads, prefix, editedWeight } = this.architecture;
    const transposeB = editedWeight(0).layout === 'out-in'; // all matrices of an architecture lie alike
    let h = x ?? this.embed(s, batch);
    if (from >= to && options.rows) return gatherRows(s, h, options.rows);
    for (let layer = from; layer < to; layer += 1) {
      const { stop, rows }: Pick<ForwardOptions, 'stop' | 'rows'> = layer === to - 1 ? options : {};
      const inner = s.tape ? s : this.gpu.open();
      try {
        const show: BlockRun['show'] = (site, t) => hooks[site]?.(inner, layer, t) ?? t;
        const at = (name: string): string => `${prefix}${layer}.${name}`;
        const linear = (name: string, t: Tensor, more?: MatmulOptions): Tensor => {
          const bias = this.#biasOf(at(name));
          return matmul(inner, t, weights(at(`${name}.weight`)), { bias, transposeB, ...more });
        };
        const run: BlockRun = {
          ...{ s: inner, layer, weights, heads, stop, show, linear },
          norm: (name, t) => this.#norm(inner, at(name), t),
          turn: (qkv, pairs) =>
            rope(inner, qkv, { positions: batch.positions, table: weights('rope') }, heads, pairs),
          attend: (qkv) => attention(inner, qkv, batch, { heads, cache: cache?.layer(layer) }),
          wanted: (t) => (rows ? gatherRows(inner, t, rows) : t),
          join: (site, residual, name, t) =>
            hooks[site] ? add(inner, residual, show(site, linear(name, t))) : linear(name, t, { residual }),
        };
        let next = block(run, h);
        if (inner !== s) {
          if (inner.owns(next)) inner.keep(next, s);
          // A state that a hook saw may be wanted later on.
          if (h !== x && !hooks.state) s.release(h);
        }
        if (!stop) next = hooks.state?.(s, layer, next) ?? next;
        h = next;
      } finally {
        if (inner !== s) inner.close();
      }
    }
    return h;
  }

  /** Logits [R, V] of the rows of x named in `rows` (u32 [R]), or of all. */
  logits(s: Scope, x: Tensor, rows?: Tensor): Tensor {
    const { finalNorm, head } = this.architecture;
    const normed = this.#norm(s, finalNorm, rows ? gatherRows(s, x, rows) : x);
    const [weight, bias] = [this.weights(`${head}.weight`), this.#biasOf(head)];
    return matmul(s, normed, weight, { transposeB: true, bias, label: 'logits' });
  }

  #norm(s: Scope, name: string, x: Tensor): Tensor {
    return layernorm(s, x, this.weights(`${name}.weight`), this.#biasOf(name), this.architecture.eps);
  }

  #biasOf(name: string): Tensor | undefined {
    return this.architecture.tensors.has(`${name}.bias`) ? this.weights(`${name}.bias`) : undefined;
  }
}

/** @throws ModelError for a tokenizer of another model: ids past the table of tokens would read nothing, without a word */
function openTokenizer({ id, architecture, tokenizerJson, tokenizerConfig }: Checkpoint): Tokenizer {
  const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig);
  const { V } = architecture.dims;
  if (tokenizer.vocabularySize <= V) return tokenizer;
  throw new ModelError(
    `model ${id}: tokenizer.json: expected ids below ${V}, the vocab_size of config.json, found ${tokenizer.vocabularySize - 1}. Use the tokenizer that came with these weights.`,
    'bad_tokenizer',
  );
}
