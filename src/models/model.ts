/**
 * GPT-2 on packed rows: the whole forward pass on one page.
 *
 *   x = wte[id] + wpe[position]
 *   x = x + attention(ln_1(x)) ;  x = x + mlp(ln_2(x))      for every block
 *   logits = ln_f(x) wteᵀ
 *
 * T tokens of all rows lie one after another, never padded; x is [T, D].
 */
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { add } from '../tensor/elementwise.ts';
import { gelu } from '../tensor/gelu.ts';
import { matmul } from '../tensor/matmul.ts';
import { gatherRows } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attention } from './attention.ts';
import type { LayerCache } from './attention.ts';
import type { GpuBatch } from './batch.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Gpt2Config } from './config.ts';
import { embed } from './embed.ts';
import { layernorm } from './layernorm.ts';
import { Tokenizer } from './tokenizer.ts';
import { loadWeights } from './weights.ts';
import type { Linear, LoadOptions, Weights } from './weights.ts';

/** What a site of a block hands out, and may replace. Tensors end with the scope `s` unless it is told to keep them. */
export interface Sites {
  /** The MLP of a block: its key k [T, F] (after GELU) and output m [T, D], which the returned tensor replaces. */
  readonly mlp?: (s: Scope, layer: number, k: Tensor, m: Tensor) => Tensor;
  /** The input of a block's MLP output: called as soon as k [T, F] is there; true ends the forward pass here. */
  readonly key?: (s: Scope, layer: number, k: Tensor) => boolean;
  /** q, k and v of a block, [T, 3D], for whoever keeps them as a cache; true ends the forward pass here. */
  readonly qkv?: (s: Scope, layer: number, qkv: Tensor) => boolean;
  /** The attention output of a block, which the returned tensor replaces. */
  readonly attention?: (s: Scope, layer: number, a: Tensor) => Tensor;
}

export class Model {
  readonly gpu: Gpu;
  readonly id: string;
  readonly config: Gpt2Config;
  readonly tokenizer: Tokenizer;
  readonly weights: Weights;
  /** sha256 of the weights file. */
  readonly sha256: string;
  readonly #owner: Scope;

  private constructor(owner: Scope, checkpoint: Checkpoint, weights: Weights, sha256: string) {
    this.gpu = owner.gpu;
    this.id = checkpoint.id;
    this.config = checkpoint.config;
    this.tokenizer = new Tokenizer(checkpoint.tokenizerJson, checkpoint.tokenizerConfig);
    this.weights = weights;
    this.sha256 = sha256;
    this.#owner = owner;
  }

  /** @throws ModelError when the checkpoint does not fit together */
  static async load(gpu: Gpu, checkpoint: Checkpoint, options: LoadOptions = {}): Promise<Model> {
    const owner = gpu.open();
    try {
      const weights = await loadWeights(owner, checkpoint, options);
      return new Model(owner, checkpoint, weights, await checkpoint.sha256());
    } catch (error) {
      owner.close();
      throw error;
    }
  }

  destroy(): void {
    this.#owner.close();
  }

  /** x = wte[id] + wpe[position], [T, D]. */
  embed(s: Scope, batch: GpuBatch): Tensor {
    return embed(s, this.weights.wte, this.weights.wpe, batch);
  }

  /**
   * Blocks `from` up to but without `to`; undefined when a site ended the pass. Without a tape, a block's activations
   * are returned to the pool as soon as the next one begins.
   */
  blocks(
    s: Scope,
    x: Tensor,
    batch: GpuBatch,
    from: number,
    to: number,
    sites: Sites = {},
    cache?: (layer: number) => LayerCache | undefined,
  ): Tensor | undefined {
    let h: Tensor | undefined = x;
    for (let i = from; i < to && h; i += 1) {
      if (s.tape) {
        h = this.block(s, i, h, batch, sites, cache?.(i));
        continue;
      }
      const inner = this.gpu.open();
      try {
        const next = this.block(inner, i, h, batch, sites, cache?.(i));
        if (next) inner.keep(next, s);
        if (h !== x) s.release(h);
        h = next;
      } finally {
        inner.close();
      }
    }
    return h;
  }

  /** One block, x [T, D] to [T, D]. */
  block(
    s: Scope,
    i: number,
    x: Tensor,
    batch: GpuBatch,
    sites: Sites = {},
    cache?: LayerCache,
  ): Tensor | undefined {
    const { ln_1, attn, ln_2, mlp } = this.weights.h[i] ?? missing(i);
    const eps = this.config.layer_norm_epsilon;

    const qkv = linear(s, layernorm(s, x, ln_1.weight, ln_1.bias, eps), attn.c_attn);
    if (sites.qkv?.(s, i, qkv)) return undefined;
    const mixed = attention(s, qkv, batch, { heads: this.config.n_head, ...(cache ? { cache } : {}) });
    const afterAttention = sites.attention
      ? add(s, x, sites.attention(s, i, linear(s, mixed, attn.c_proj)))
      : linear(s, mixed, attn.c_proj, x);

    const k = gelu(s, linear(s, layernorm(s, afterAttention, ln_2.weight, ln_2.bias, eps), mlp.c_fc));
    if (sites.key?.(s, i, k)) return undefined;
    if (!sites.mlp) return linear(s, k, mlp.c_proj, afterAttention);
    return add(s, afterAttention, sites.mlp(s, i, k, linear(s, k, mlp.c_proj)));
  }

  /** Logits [R, V] of the rows of x named in `rows` (u32 [R]), or of all. */
  logits(s: Scope, x: Tensor, rows?: Tensor): Tensor {
    const { ln_f, wte } = this.weights;
    const wanted = rows ? gatherRows(s, x, rows) : x;
    const normed = layernorm(s, wanted, ln_f.weight, ln_f.bias, this.config.layer_norm_epsilon);
    return matmul(s, normed, wte, { transposeB: true, label: 'logits' });
  }
}

/** x W + b (+ residual). */
function linear(s: Scope, x: Tensor, { weight, bias }: Linear, residual?: Tensor): Tensor {
  return matmul(s, x, weight, residual ? { bias, residual } : { bias });
}

function missing(layer: number): never {
  throw new RangeError(`model: there is no layer ${layer}.`);
}
