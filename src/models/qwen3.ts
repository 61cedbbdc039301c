/**
 * Qwen 3: as Llama, with an RMSNorm on each head's q and k before they are turned, and heads of a size of their own, so
 * that H S need not be D.
 *
 *   q, k, v = W_qkv norm_1(x) ;  x = x + W_o attention(rope(norm_q(q)), rope(norm_k(k)), v)
 *   x = x + W_down (silu(W_gate n) ⊙ W_up n),  n = norm_2(x)
 *
 * Source: Yang et al. 2025.
 */
import { matmul } from '../tensor/matmul.ts';
import type { MatmulOptions } from '../tensor/matmul.ts';
import { siluGate } from '../tensor/activations.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture } from './architecture.ts';
import { attention } from './attention.ts';
import { ConfigReader } from './config.ts';
import { llama, readLlamaFields } from './llama.ts';
import type { LlamaBlock } from './llama.ts';
import { qwenWindow } from './qwen2.ts';
import { rmsnorm, rmsnormHeads } from './rmsnorm.ts';
import { rope } from './rope.ts';

/** The key k [T, F] is what the edited matrix, mlp.down_proj, reads. */
const block: LlamaBlock = (run, weights, x, { heads, variant: { eps, qkvBias } }) => {
  const { s, layer, batch, cache, stop } = run;
  const turn = { positions: batch.positions, table: weights('rope') };
  const w = (name: string): Tensor => weights(`model.layers.${layer}.${name}`);
  const linear = (name: string, t: Tensor, more: MatmulOptions = {}): Tensor =>
    matmul(s, t, w(`${name}.weight`), { transposeB: true, ...more });
  const ofAttention = (name: string): MatmulOptions => (qkvBias ? { bias: w(`self_attn.${name}.bias`) } : {});

  const n1 = rmsnorm(s, x, w('input_layernorm.weight'), eps);
  const projected = linear('self_attn.qkv_proj', n1, ofAttention('qkv_proj'));
  const gains = { q: w('self_attn.q_norm.weight'), k: w('self_attn.k_norm.weight') };
  const normed = rmsnormHeads(s, projected, gains, heads, eps);
  const qkv = run.show('qkv', rope(s, normed, turn, heads, 'halves'));
  if (stop === 'qkv') return qkv;
  const mixed = attention(s, qkv, batch, { heads, cache });
  const h = run.join('attention', x, (residual) =>
    linear('self_attn.o_proj', mixed, { ...ofAttention('o_proj'), residual }),
  );

  const n2 = rmsnorm(s, h, w('post_attention_layernorm.weight'), eps);
  const k = run.show('key', siluGate(s, linear('mlp.gate_up_proj', n2)));
  if (stop === 'key') return k;
  return run.join('mlp', h, (residual) => linear('mlp.down_proj', k, { residual }));
};

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readQwen3(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const { dims, eps, rope: positions } = readLlamaFields(read);
  const attentionBias = read.flag('attention_bias', false);
  const variant = {
    ...{ name: 'qwen3', eps, rope: positions, headNorms: true },
    tied: read.flag('tie_word_embeddings', false),
    ...{ qkvBias: attentionBias, outputBias: attentionBias, mlpBias: false },
  };
  return llama(qwenWindow(read, dims), variant, block);
}
