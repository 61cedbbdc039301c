/**
 * Llama 2, 3 and 3.x, SmolLM2: RMSNorm, RoPE, queries that share keys, a gated MLP.
 *
 *   x = embed_tokens[id]
 *   x = x + attention(norm_1(x)) ;  x = x + W_down (silu(W_gate n) ⊙ W_up n), n = norm_2(x)      in every block
 *   logits = norm(x) W_headᵀ, the head tied to the embedding or not
 *
 * The key of an edit is what W_down reads. q, k and v are three weights, gate and up two; each product reads them
 * side by side. What differs little is a variant:
 *
 *   Mistral      attention looks back over a sliding window
 *   Qwen 2, 2.5  biases on q, k and v
 *   Qwen 3       an RMSNorm on each head's q and k before they are turned, heads of a size of their own (H S need not be D)
 *
 * Source: Touvron et al. 2023; Grattafiori et al. 2024; Zhang and Sennrich 2019; Shazeer 2020; Ainslie et al. 2023;
 * Jiang et al. 2023; Yang et al. 2024, 2025.
 */
import { siluGate } from '../tensor/activations.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, BlockRun, Dimensions } from './architecture.ts';
import { ConfigReader, type RopeSettings, ropeConstants } from './config.ts';
import { headBlocks } from './heads.ts';
import { rmsnormHeads } from './layernorm.ts';
import { TensorTable } from './tensor-table.ts';

/** What tells one model of this family from another, but for its sizes. */
interface Variant {
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

/** One block, x [T, D] to [T, D]; the key k [T, F] is what the edited matrix, mlp.down_proj, reads. */
function block(run: BlockRun, x: Tensor, variant: Variant): Tensor {
  const { s, layer, weights, heads } = run;
  const projected = run.linear('self_attn.qkv_proj', run.norm('input_layernorm', x));
  const gain = (name: string): Tensor => weights(`model.layers.${layer}.self_attn.${name}_norm.weight`);
  const normed = variant.headNorms
    ? rmsnormHeads(s, projected, { q: gain('q'), k: gain('k') }, heads, variant.eps)
    : projected;
  const qkv = run.show('qkv', run.turn(normed, 'halves'));
  if (run.stop === 'qkv') return qkv;
  const mixed = run.wanted(run.attend(qkv));
  const h = run.join('attention', run.wanted(x), 'self_attn.o_proj', mixed);

  const n = run.norm('post_attention_layernorm', h);
  const k = run.show('key', siluGate(s, run.linear('mlp.gate_up_proj', n)));
  if (run.stop === 'key') return k;
  return run.join('mlp', h, 'mlp.down_proj', k);
}

/** A model of this family. */
function llama(dims: Dimensions, variant: Variant): Architecture {
  const { name, eps, tied } = variant;
  const embedding = 'model.embed_tokens.weight';
  return {
    name,
    dims,
    heads: headBlocks(dims),
    tensors: tensorTable(dims, variant),
    rope: variant.rope,
    canonical: (stored) => (/^(layers\.|embed_tokens\.|norm\.)/.test(stored) ? `model.${stored}` : stored),
    tied: new Map(tied ? [['lm_head.weight', embedding]] : []),
    ignores: (stored) => /rotary_emb\.inv_freq$/.test(stored),
    embedding,
    ...{ prefix: 'model.layers.', finalNorm: 'model.norm', eps },
    head: tied ? 'model.embed_tokens' : 'lm_head',
    constants: [dims.D, dims.H, dims.KV, dims.S, dims.F, eps, ...ropeConstants(variant.rope)],
    editedWeight: (layer) => ({ name: `model.layers.${layer}.mlp.down_proj.weight`, layout: 'out-in' }),
    key: {
      equation: variant.mlpBias
        ? 'k_j = silu(W_gate n_j + b_gate) ⊙ (W_up n_j + b_up),   n_j = norm_2(h_j)'
        : 'k_j = silu(W_gate n_j) ⊙ W_up n_j,   n_j = norm_2(h_j)',
      shapes: [['W_gate, W_up', `[${dims.F}, ${dims.D}]`]],
      ...{ norm: 'models/layernorm_1', activation: 'tensor/silu_gate' },
    },
    block: (run, x) => block(run, x, variant),
  };
}

function tensorTable(
  { D, F, H, KV, S, V, layers }: Dimensions,
  { tied, qkvBias, outputBias, mlpBias, headNorms }: Variant,
): TensorTable {
  const table = new TensorTable();
  table.rows('model.embed_tokens.weight', V, D, tied ? 'both' : 'rows');
  for (let layer = 0; layer < layers; layer += 1) {
    const at = `model.layers.${layer}`;
    table.norm(`${at}.input_layernorm`, D, false);
    const three = { q_proj: H * S, k_proj: KV * S, v_proj: KV * S };
    table.stacked(`${at}.self_attn`, 'qkv_proj', D, three, qkvBias);
    if (headNorms) for (const one of ['q', 'k']) table.norm(`${at}.self_attn.${one}_norm`, S, false);
    table.linear(`${at}.self_attn.o_proj`, H * S, D, outputBias);
    table.norm(`${at}.post_attention_layernorm`, D, false);
    table.stacked(`${at}.mlp`, 'gate_up_proj', D, { gate_proj: F, up_proj: F }, mlpBias);
    table.linear(`${at}.mlp.down_proj`, F, D, mlpBias);
  }
  table.norm('model.norm', D, false);
  if (!tied) table.linear('lm_head', D, V, false);
  return table;
}

/** What tells the model of one `model_type` from Llama's own. */
interface Own {
  readonly variant?: (read: ConfigReader) => Partial<Variant>;
  /** Attention looks back over `sliding_window` alone. */
  readonly hasWindow?: (read: ConfigReader) => boolean;
}

/**
 * Reads the `config.json` of a model of this family.
 *
 * @throws ModelError naming the field, what was expected and what came
 */
function reader(name: string, { variant = () => ({}), hasWindow = () => false }: Own) {
  return (id: string, fields: Readonly<Record<string, unknown>>): Architecture => {
    const read = new ConfigReader(id, fields);
    const advice = 'Only the gate with SiLU is implemented: use another checkpoint.';
    read.only('hidden_act', ['silu', 'swish'], advice);
    read.refuseQuantised();
    const [D, H] = [read.size('hidden_size'), read.size('num_attention_heads')];
    const S = read.has('head_dim')
      ? read.size('head_dim')
      : read.divide('hidden_size', 'num_attention_heads');
    const dims: Dimensions = {
      ...{ D, H, S, KV: read.keyValueHeads(H), F: read.size('intermediate_size') },
      ...{ V: read.size('vocab_size'), layers: read.size('num_hidden_layers') },
      context: read.size('max_position_embeddings'),
    };
    return llama(hasWindow(read) ? withinWindow(read, dims) : dims, {
      ...{ name, eps: read.epsilon('rms_norm_eps', 1e-6), rope: read.rope(S) },
      tied: read.flag('tie_word_embeddings', false),
      ...{ qkvBias: false, outputBias: false, mlpBias: false, headNorms: false },
      ...variant(read),
    });
  };
}

/**
 * The sizes of a model whose tokens see the `sliding_window` tokens up to themselves. In a text no longer than that this
 * is Llama's attention; so the window takes the place of the context, and longer texts are refused with that reason.
 */
function withinWindow(read: ConfigReader, dims: Dimensions): Dimensions {
  const window = read.sizeOr('sliding_window', dims.context);
  if (window >= dims.context) return dims;
  return {
    ...dims,
    context: window,
    contextIs:
      'the sliding window of attention (beyond it, tokens are no longer seen, which is not implemented)',
  };
}

const attentionBias = (read: ConfigReader): Partial<Variant> => {
  const biased = read.flag('attention_bias', false);
  return { qkvBias: biased, outputBias: biased };
};

/** A Qwen uses its window of attention only where it is asked to. */
const asksForWindow = (read: ConfigReader): boolean => read.flag('use_sliding_window', false);

export const readLlama = reader('llama', {
  variant: (read) => ({ ...attentionBias(read), mlpBias: read.flag('mlp_bias', false) }),
});

export const readMistral = reader('mistral', { hasWindow: () => true });

export const readQwen2 = reader('qwen2', { variant: () => ({ qkvBias: true }), hasWindow: asksForWindow });

export const readQwen3 = reader('qwen3', {
  variant: (read) => ({ ...attentionBias(read), headNorms: true }),
  hasWindow: asksForWindow,
});
