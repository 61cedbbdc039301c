/**
 * GPT-NeoX and Pythia: attention and MLP have a norm each, and both are added at once, or one after the other.
 *
 *   x = embed_in[id]
 *   x = x + attention(norm_1(x)) + mlp(norm_2(x))          in every block; or, serial:
 *   x = x + attention(norm_1(x)) ;  x = x + mlp(norm_2(x))
 *   logits = final_norm(x) W_headᵀ
 *
 * RoPE turns pairs (j, j + dim/2) of the first part of a head. q, k and v of a head lie together, head after head.
 *
 * Source: Black et al. 2022; Su et al. 2021.
 */
import { gelu, geluErf } from '../tensor/activations.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, BlockRun, Dimensions } from './architecture.ts';
import { ConfigReader, type RopeSettings, ropeConstants } from './config.ts';
import { headTriples } from './heads.ts';
import { TensorTable } from './tensor-table.ts';

interface Variant {
  readonly eps: number;
  /** Attention and MLP read the same x and are added at once. */
  readonly parallel: boolean;
  /** The MLP's GELU: exact, or its tanh form. */
  readonly gelu: 'exact' | 'tanh';
  /** Attention's two matrices have biases. */
  readonly attentionBias: boolean;
  readonly rope: RopeSettings;
}

/** One block, x [T, D] to [T, D]; the key k [T, F] is what the edited matrix, mlp.dense_4h_to_h, reads. */
function block(run: BlockRun, x: Tensor, variant: Variant): Tensor {
  const projected = run.linear('attention.query_key_value', run.norm('input_layernorm', x));
  const qkv = run.show('qkv', run.turn(projected, 'halves'));
  if (run.stop === 'qkv') return qkv;
  const mixed = run.wanted(run.attend(qkv));
  const stream = run.wanted(x);
  const h = run.join('attention', stream, 'attention.dense', mixed);

  const n = run.norm('post_attention_layernorm', variant.parallel ? stream : h);
  const activate = variant.gelu === 'exact' ? geluErf : gelu;
  const k = run.show('key', activate(run.s, run.linear('mlp.dense_h_to_4h', n)));
  if (run.stop === 'key') return k;
  return run.join('mlp', h, 'mlp.dense_4h_to_h', k);
}

/** A GPT-NeoX of these sizes. */
function gptNeox(dims: Dimensions, variant: Variant): Architecture {
  const { eps, parallel, gelu } = variant;
  return {
    name: 'gpt_neox',
    dims,
    heads: headTriples(dims),
    tensors: tensorTable(dims, variant),
    rope: variant.rope,
    canonical: (stored) => (stored === 'lm_head.weight' ? 'embed_out.weight' : stored), // newer files
    tied: new Map(),
    ignores: (name) => /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(name),
    ...{ embedding: 'gpt_neox.embed_in.weight', prefix: 'gpt_neox.layers.' },
    ...{ finalNorm: 'gpt_neox.final_layer_norm', head: 'embed_out', eps },
    constants: [
      dims.D,
      dims.H,
      dims.F,
      eps,
      Number(parallel),
      Number(gelu === 'exact'),
      ...ropeConstants(variant.rope),
    ],
    editedWeight: (layer) => ({
      name: `gpt_neox.layers.${layer}.mlp.dense_4h_to_h.weight`,
      layout: 'out-in',
    }),
    key: {
      equation: `k_j = gelu(W_in norm_2(${parallel ? 'x_j' : 'h_j'}) + b_in)`,
      shapes: [['W_in', `[${dims.F}, ${dims.D}]`]],
      ...{ norm: 'models/layernorm_1', activation: gelu === 'exact' ? 'tensor/gelu_erf' : 'tensor/gelu' },
    },
    block: (run, x) => block(run, x, variant),
  };
}

function tensorTable({ D, F, V, layers }: Dimensions, { attentionBias }: Variant): TensorTable {
  const table = new TensorTable();
  table.rows('gpt_neox.embed_in.weight', V, D);
  for (let layer = 0; layer < layers; layer += 1) {
    const at = `gpt_neox.layers.${layer}`;
    table.norm(`${at}.input_layernorm`, D);
    table.linear(`${at}.attention.query_key_value`, D, 3 * D, attentionBias);
    table.linear(`${at}.attention.dense`, D, D, attentionBias);
    table.norm(`${at}.post_attention_layernorm`, D);
    table.linear(`${at}.mlp.dense_h_to_4h`, D, F, true);
    table.linear(`${at}.mlp.dense_4h_to_h`, F, D, true);
  }
  table.norm('gpt_neox.final_layer_norm', D);
  table.linear('embed_out', D, V, false);
  return table;
}

/** Names of the MLP's activation: the exact GELU, and forms with tanh that agree to rounding. */
const ACTIVATIONS = {
  gelu: 'exact',
  gelu_new: 'tanh',
  gelu_fast: 'tanh',
  gelu_pytorch_tanh: 'tanh',
} as const;

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readGptNeox(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const other = 'This variant of GPT-NeoX computes something else: use another checkpoint.';
  const names = Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[];
  const activation = read.only('hidden_act', names, other);
  read.only('tie_word_embeddings', [false], other);
  read.refuseQuantised();
  const [D, H] = [read.size('hidden_size'), read.size('num_attention_heads')];
  const S = read.divide('hidden_size', 'num_attention_heads');
  const dims: Dimensions = {
    ...{ D, H, S, KV: H, F: read.sizeOr('intermediate_size', 4 * D), V: read.size('vocab_size') },
    layers: read.size('num_hidden_layers'),
    context: read.size('max_position_embeddings'),
  };
  return gptNeox(dims, {
    eps: read.epsilon('layer_norm_eps', 1e-5),
    parallel: read.flag('use_parallel_residual', true),
    gelu: ACTIVATIONS[activation],
    attentionBias: read.flag('attention_bias', true),
    rope: read.rope(S, 'rotary_emb_base'),
  });
}
