/**
 * GPT-J: one norm feeds attention and MLP, and both are added at once; positions turn pairs of q and k.
 *
 *   x = wte[id]
 *   n = ln_1(x) ;  x = x + attention(n) + mlp(n)      in every block
 *   logits = ln_f(x) W_headᵀ + b_head
 *
 * RoPE turns the interleaved pairs (0, 1), (2, 3), … of the first `rotary_dim` components of a head. Matrices are stored
 * [out, in] ("Linear"): y = x Wᵀ + b; q, k and v are three, without biases.
 *
 * Source: Wang and Komatsuzaki 2021; Su et al. 2021.
 */
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, BlockRun, Dimensions } from './architecture.ts';
import { ConfigReader } from './config.ts';
import { headBlocks } from './heads.ts';
import { TensorTable } from './tensor-table.ts';

/** One block, x [T, D] to [T, D]; the key k [T, F] is what the edited matrix, mlp.fc_out, reads. */
function block(run: BlockRun, x: Tensor): Tensor {
  const n = run.norm('ln_1', x);
  const qkv = run.show('qkv', run.turn(run.linear('attn.qkv_proj', n), 'interleaved'));
  if (run.stop === 'qkv') return qkv;
  // Attention has no part in the key.
  const k = run.show('key', run.linear('mlp.fc_in', run.wanted(n), { gelu: true }));
  if (run.stop === 'key') return k;
  const mixed = run.wanted(run.attend(qkv));
  const h = run.join('attention', run.wanted(x), 'attn.out_proj', mixed);
  return run.join('mlp', h, 'mlp.fc_out', k);
}

function tensorTable({ D, F, V, layers }: Dimensions): TensorTable {
  const table = new TensorTable();
  table.rows('transformer.wte.weight', V, D);
  for (let layer = 0; layer < layers; layer += 1) {
    const at = `transformer.h.${layer}`;
    table.norm(`${at}.ln_1`, D);
    table.stacked(`${at}.attn`, 'qkv_proj', D, { q_proj: D, k_proj: D, v_proj: D }, false);
    table.linear(`${at}.attn.out_proj`, D, D, false);
    table.linear(`${at}.mlp.fc_in`, D, F, true);
    table.linear(`${at}.mlp.fc_out`, F, D, true);
  }
  table.norm('transformer.ln_f', D);
  table.linear('lm_head', D, V, true);
  return table;
}

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readGptj(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const other = 'This variant of GPT-J computes something else: use another checkpoint.';
  read.only('activation_function', ['gelu_new', 'gelu_pytorch_tanh'], other);
  read.only('tie_word_embeddings', [false], other);
  read.only('scale_attn_weights', [true], other);
  read.refuseQuantised();
  const [D, H] = [read.size('n_embd'), read.size('n_head')];
  const S = read.divide('n_embd', 'n_head');
  const dims: Dimensions = {
    ...{ D, H, S, KV: H, F: read.sizeOr('n_inner', 4 * D), V: read.size('vocab_size') },
    layers: read.size('n_layer'),
    context: read.size('n_positions', 'n_ctx'),
  };
  const rotary = read.sizeOr('rotary_dim', S);
  if (rotary > S || rotary % 2 !== 0) throw read.fault('rotary_dim', `an even number up to ${S}`, rotary);
  const eps = read.epsilon('layer_norm_epsilon', 1e-5);
  return {
    name: 'gptj',
    dims,
    heads: headBlocks(dims),
    tensors: tensorTable(dims),
    rope: { dimensions: rotary, theta: 10_000, scaling: undefined },
    canonical: (stored) => stored,
    tied: new Map(),
    ignores: (name) => /\.attn\.(bias|masked_bias|embed_positions)$/.test(name),
    ...{ embedding: 'transformer.wte.weight', prefix: 'transformer.h.', finalNorm: 'transformer.ln_f' },
    ...{ head: 'lm_head', eps },
    constants: [dims.D, dims.H, dims.F, rotary, eps],
    editedWeight: (layer) => ({ name: `transformer.h.${layer}.mlp.fc_out.weight`, layout: 'out-in' }),
    key: {
      equation: 'k_j = gelu(W_in ln_1(x_j) + b_in)',
      shapes: [['W_in', `[${dims.F}, ${dims.D}]`]],
      ...{ norm: 'models/layernorm_1', activation: 'tensor/gelu' },
    },
    block,
  };
}
