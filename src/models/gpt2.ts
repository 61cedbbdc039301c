/**
 * GPT-2: learned positions, a LayerNorm before each branch, q k v from one matrix, the head tied to the embedding.
 *
 *   x = wte[id] + wpe[position]
 *   x = x + attention(ln_1(x)) ;  x = x + mlp(ln_2(x))      in every block
 *   logits = ln_f(x) wteᵀ
 *
 * Matrices are stored [in, out] ("Conv1D"): y = x W + b.
 */
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, BlockRun, Dimensions } from './architecture.ts';
import { ConfigReader } from './config.ts';
import { headBlocks } from './heads.ts';
import { TensorTable } from './tensor-table.ts';

/** One block, x [T, D] to [T, D]; the key k [T, F] is what the edited matrix, mlp.c_proj, reads. */
function block(run: BlockRun, x: Tensor): Tensor {
  const qkv = run.show('qkv', run.linear('attn.c_attn', run.norm('ln_1', x)));
  if (run.stop === 'qkv') return qkv;
  const mixed = run.wanted(run.attend(qkv));
  const h = run.join('attention', run.wanted(x), 'attn.c_proj', mixed);

  const k = run.show('key', run.linear('mlp.c_fc', run.norm('ln_2', h), { gelu: true }));
  if (run.stop === 'key') return k;
  return run.join('mlp', h, 'mlp.c_proj', k);
}

function tensorTable({ D, F, V, layers, context }: Dimensions): TensorTable {
  const table = new TensorTable();
  table.rows('wte.weight', V, D, 'both');
  table.rows('wpe.weight', context, D);
  for (let layer = 0; layer < layers; layer += 1) {
    table.norm(`h.${layer}.ln_1`, D);
    table.conv1d(`h.${layer}.attn.c_attn`, D, 3 * D);
    table.conv1d(`h.${layer}.attn.c_proj`, D, D);
    table.norm(`h.${layer}.ln_2`, D);
    table.conv1d(`h.${layer}.mlp.c_fc`, D, F);
    table.conv1d(`h.${layer}.mlp.c_proj`, F, D);
  }
  table.norm('ln_f', D);
  return table;
}

/** Both names stand for the tanh form, ½x(1 + tanh(√(2/π)(x + 0.044715x³))). */
const ACTIVATIONS = ['gelu_new', 'gelu_pytorch_tanh'];

/** Switches that change the maths, with the only value the engine computes. Absent means this value. */
const FIXED: Readonly<Record<string, boolean>> = {
  tie_word_embeddings: true,
  scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false,
  add_cross_attention: false,
};

/**
 * `reorder_and_upcast_attn` may be either: attention is computed in f32 anyway.
 *
 * @throws ModelError naming the field of `config.json`, what was expected and what came
 */
export function readGpt2(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const [D, H] = [read.size('n_embd'), read.size('n_head')];
  const dims: Dimensions = {
    ...{ D, H, S: read.divide('n_embd', 'n_head'), KV: H },
    ...{ F: read.sizeOr('n_inner', 4 * D), V: read.size('vocab_size') },
    layers: read.size('n_layer'),
    context: read.size('n_positions', 'n_ctx'),
  };
  read.only(
    'activation_function',
    ACTIVATIONS,
    'Only the tanh GELU of GPT-2 is implemented: use another checkpoint.',
  );
  for (const [name, value] of Object.entries(FIXED))
    read.only(name, [value], 'This variant of GPT-2 computes something else: use another checkpoint.');
  const eps = read.epsilon('layer_norm_epsilon', 1e-5);
  return {
    name: 'gpt2',
    dims,
    heads: headBlocks(dims),
    tensors: tensorTable(dims),
    canonical: (stored) => stored.replace(/^transformer\./, ''),
    tied: new Map([['lm_head.weight', 'wte.weight']]),
    // Causal masks that older exports saved as tensors; attention computes its own.
    ignores: (name) => /^h\.\d+\.attn\.(bias|masked_bias)$/.test(name),
    ...{ embedding: 'wte.weight', positions: 'wpe.weight' },
    ...{ prefix: 'h.', finalNorm: 'ln_f', head: 'wte', eps },
    constants: [dims.D, dims.H, dims.F, eps],
    editedWeight: (layer) => ({ name: `h.${layer}.mlp.c_proj.weight`, layout: 'in-out' }),
    key: {
      equation: 'k_j = gelu(ln_2(h_j) W_fc + b_fc)',
      shapes: [['W_fc', `[${dims.D}, ${dims.F}]`]],
      ...{ norm: 'models/layernorm_1', activation: 'tensor/gelu' },
    },
    block,
  };
}
