/**
 * Qwen 2 and 2.5: as Llama, with biases on q, k and v.
 *
 *   x = x + W_o attention(rope(W_qkv norm_1(x) + b_qkv))
 *   x = x + W_down (silu(W_gate n) ⊙ W_up n),  n = norm_2(x)
 *
 * Source: Yang et al. 2024.
 */
import { matmul } from '../tensor/matmul.ts';
import { siluGate } from '../tensor/activations.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, Dimensions } from './architecture.ts';
import { attention } from './attention.ts';
import { ConfigReader } from './config.ts';
import { llama, readLlamaFields } from './llama.ts';
import type { LlamaBlock, LlamaVariant } from './llama.ts';
import { withinWindow } from './mistral.ts';
import { rmsnorm } from './rmsnorm.ts';
import { rope } from './rope.ts';

/** The key k [T, F] is what the edited matrix, mlp.down_proj, reads. */
const block: LlamaBlock = (run, weights, x, { heads, variant: { eps } }) => {
  const { s, layer, batch, cache, stop } = run;
  const turn = { positions: batch.positions, table: weights('rope') };
  const w = (name: string): Tensor => weights(`model.layers.${layer}.${name}`);
  const linear = (name: string, t: Tensor, bias?: Tensor, residual?: Tensor): Tensor =>
    matmul(s, t, w(`${name}.weight`), { transposeB: true, bias, residual });

  const n1 = rmsnorm(s, x, w('input_layernorm.weight'), eps);
  const projected = linear('self_attn.qkv_proj', n1, w('self_attn.qkv_proj.bias'));
  const qkv = run.show('qkv', rope(s, projected, turn, heads, 'halves'));
  if (stop === 'qkv') return qkv;
  const mixed = attention(s, qkv, batch, { heads, cache });
  const h = run.join('attention', x, (residual) => linear('self_attn.o_proj', mixed, undefined, residual));

  const n2 = rmsnorm(s, h, w('post_attention_layernorm.weight'), eps);
  const k = run.show('key', siluGate(s, linear('mlp.gate_up_proj', n2)));
  if (stop === 'key') return k;
  return run.join('mlp', h, (residual) => linear('mlp.down_proj', k, undefined, residual));
};

/** A Qwen 2 of these sizes. */
function qwen2(dims: Dimensions, more: Pick<LlamaVariant, 'eps' | 'rope' | 'tied'>): Architecture {
  const biases = { qkvBias: true, outputBias: false, mlpBias: false };
  return llama(dims, { name: 'qwen2', ...more, ...biases, headNorms: false }, block);
}

/** Sizes with the window of attention that a Qwen may be asked to use. */
export function qwenWindow(read: ConfigReader, dims: Dimensions): Dimensions {
  if (!read.flag('use_sliding_window', false)) return dims;
  return withinWindow(dims, read.sizeOr('sliding_window', dims.context));
}

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readQwen2(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const { dims, eps, rope: positions } = readLlamaFields(read);
  const tied = read.flag('tie_word_embeddings', false);
  return qwen2(qwenWindow(read, dims), { eps, rope: positions, tied });
}
