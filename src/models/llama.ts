/**
 * Llama 2, 3 and 3.x, SmolLM2: RMSNorm, RoPE, queries that share keys, a gated MLP.
 *
 *   x = embed_tokens[id]
 *   x = x + attention(norm_1(x)) ;  x = x + W_down (silu(W_gate n) ⊙ W_up n), n = norm_2(x)      in every block
 *   logits = norm(x) W_headᵀ, the head tied to the embedding or not
 *
 * The key of an edit is what W_down reads. q, k and v are three weights, gate and up two; each product reads them
 * side by side. Models that differ in little share all but the block: `mistral.ts`, `qwen2.ts`, `qwen3.ts`.
 *
 * Source: Touvron et al. 2023; Grattafiori et al. 2024; Zhang and Sennrich 2019; Shazeer 2020; Ainslie et al. 2023.
 */
import { matmul } from '../tensor/matmul.ts';
import type { MatmulOptions } from '../tensor/matmul.ts';
import { siluGate } from '../tensor/activations.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, BlockRun, Dimensions, TensorSpec, Weights } from './architecture.ts';
import { attention } from './attention.ts';
import { ConfigReader, ropeConstants } from './config.ts';
import type { RopeSettings } from './config.ts';
import { embed } from './embed.ts';
import { headBlocks } from './heads.ts';
import type { HeadLayout } from './heads.ts';
import { rmsnorm } from './rmsnorm.ts';
import { rope } from './rope.ts';
import { TensorTable } from './tensor-table.ts';

/** What tells one model of this family from another, but for its sizes. */
export interface LlamaVariant {
  readonly name: string;
  readonly eps: number;
  readonly rope: RopeSettings;
  /** The head is the embedding. */
  readonly tied: boolean;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Each head's q and k have an RMSNorm. */
  readonly headNorms: boolean;
}

/** One block, x [T, D] to [T, D]. */
export type LlamaBlock = (
  run: BlockRun,
  weights: Weights,
  x: Tensor,
  shape: { readonly heads: HeadLayout; readonly variant: LlamaVariant },
) => Tensor;

/** The key k [T, F] is what the edited matrix, mlp.down_proj, reads. */
const llamaBlock: LlamaBlock = (run, weights, x, { heads, variant }) => {
  const { s, layer, batch, cache, stop } = run;
  const turn = { positions: batch.positions, table: weights('rope') };
  const w = (name: string): Tensor => weights(`model.layers.${layer}.${name}`);
  const norm = (name: string, t: Tensor): Tensor => rmsnorm(s, t, w(`${name}.weight`), variant.eps);
  const linear = (name: string, t: Tensor, biased: boolean, more: MatmulOptions = {}): Tensor => {
    const bias = biased ? w(`${name}.bias`) : undefined;
    return matmul(s, t, w(`${name}.weight`), { transposeB: true, bias, ...more });
  };
  const { qkvBias, outputBias, mlpBias } = variant;

  const projected = linear('self_attn.qkv_proj', norm('input_layernorm', x), qkvBias);
  const qkv = run.show('qkv', rope(s, projected, turn, heads, 'halves'));
  if (stop === 'qkv') return qkv;
  const mixed = attention(s, qkv, batch, { heads, cache });
  const h = run.join('attention', x, (residual) =>
    linear('self_attn.o_proj', mixed, outputBias, { residual }),
  );

  const n = norm('post_attention_layernorm', h);
  const k = run.show('key', siluGate(s, linear('mlp.gate_up_proj', n, mlpBias)));
  if (stop === 'key') return k;
  return run.join('mlp', h, (residual) => linear('mlp.down_proj', k, mlpBias, { residual }));
};

/** A model of this family: all but the block is the same for each. */
export function llama(dims: Dimensions, variant: LlamaVariant, block: LlamaBlock = llamaBlock): Architecture {
  const heads = headBlocks(dims);
  const { name, eps, tied } = variant;
  const embedding = 'model.embed_tokens.weight';
  return {
    name,
    dims,
    heads,
    tensors: tensorTable(dims, variant),
    rope: variant.rope,
    canonical: (stored) => (/^(layers\.|embed_tokens\.|norm\.)/.test(stored) ? `model.${stored}` : stored),
    tied: new Map(tied ? [['lm_head.weight', embedding]] : []),
    ignores: (stored) => /rotary_emb\.inv_freq$/.test(stored),
    embedding,
    constants: [dims.D, dims.H, dims.KV, dims.S, dims.F, eps, ...ropeConstants(variant.rope)],
    editedWeight: (layer) => ({ name: `model.layers.${layer}.mlp.down_proj.weight`, layout: 'out-in' }),
    embed: (s, weights, batch) => embed(s, weights(embedding), undefined, batch),
    block: (run, weights, x) => block(run, weights, x, { heads, variant }),
    logits: (s, weights, x) => {
      const normed = rmsnorm(s, x, weights('model.norm.weight'), eps);
      const head = weights(tied ? embedding : 'lm_head.weight');
      return matmul(s, normed, head, { transposeB: true, label: 'logits' });
    },
  };
}

function tensorTable(
  { D, F, H, KV, S, V, layers }: Dimensions,
  { tied, qkvBias, outputBias, mlpBias, headNorms }: LlamaVariant,
): ReadonlyMap<string, TensorSpec> {
  const table = new TensorTable();
  table.rows('model.embed_tokens.weight', V, D, tied ? 'both' : 'rows');
  for (let layer = 0; layer < layers; layer += 1) {
    const at = `model.layers.${layer}`;
    table.norm(`${at}.input_layernorm`, D, false);
    const [q, k, v] = ['q', 'k', 'v'].map((one) => `${at}.self_attn.${one}_proj`) as [string, string, string];
    const three = [
      [q, H * S],
      [k, KV * S],
      [v, KV * S],
    ] as const;
    table.stacked(`${at}.self_attn.qkv_proj`, D, three, qkvBias);
    if (headNorms) for (const one of ['q', 'k']) table.norm(`${at}.self_attn.${one}_norm`, S, false);
    table.linear(`${at}.self_attn.o_proj`, H * S, D, outputBias);
    table.norm(`${at}.post_attention_layernorm`, D, false);
    const two = [
      [`${at}.mlp.gate_proj`, F],
      [`${at}.mlp.up_proj`, F],
    ] as const;
    table.stacked(`${at}.mlp.gate_up_proj`, D, two, mlpBias);
    table.linear(`${at}.mlp.down_proj`, F, D, mlpBias);
  }
  table.norm('model.norm', D, false);
  if (!tied) table.linear('lm_head', D, V, false);
  return table.tensors;
}

/** Sizes, norm and positions of a `config.json` of this family. @throws ModelError naming the field */
export function readLlamaFields(read: ConfigReader): { dims: Dimensions; eps: number; rope: RopeSettings } {
  read.only(
    'hidden_act',
    ['silu', 'swish'],
    'Only the gate with SiLU is implemented: use another checkpoint.',
  );
  read.refuseQuantised();
  const [D, H] = [read.size('hidden_size'), read.size('num_attention_heads')];
  const S = read.has('head_dim') ? read.size('head_dim') : read.divide('hidden_size', 'num_attention_heads');
  const dims: Dimensions = {
    ...{ D, H, S, KV: read.keyValueHeads(H), F: read.size('intermediate_size'), V: read.size('vocab_size') },
    layers: read.size('num_hidden_layers'),
    context: read.size('max_position_embeddings'),
  };
  return { dims, eps: read.epsilon('rms_norm_eps', 1e-6), rope: read.rope(S) };
}

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readLlama(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const { dims, eps, rope: positions } = readLlamaFields(read);
  const attentionBias = read.flag('attention_bias', false);
  return llama(dims, {
    ...{ name: 'llama', eps, rope: positions, headNorms: false },
    tied: read.flag('tie_word_embeddings', false),
    qkvBias: attentionBias,
    outputBias: attentionBias,
    mlpBias: read.flag('mlp_bias', false),
  });
}
