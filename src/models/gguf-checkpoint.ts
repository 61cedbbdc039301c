/**
 * A GGUF file as a checkpoint: its names, sizes and tokenizer as a Hugging Face folder would have them.
 *
 * Rows of q and k of Llama-type files are laid out for interleaved pairs of RoPE; they are read in the order that the
 * halves of `llama.ts` want. Qwen's are not.
 *
 * Source: ggml-org/llama.cpp, `convert_hf_to_gguf.py` and `gguf-py/gguf/constants.py`.
 */
import { unitOf } from '../blocks.ts';
import { ModelError } from '../errors.ts';
import type { Gguf } from '../formats/gguf.ts';
import { type Checkpoint, type TensorFile, checkTensors, readArchitecture } from './checkpoint.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';

/** `general.architecture` of what is read, each also a `model_type`; Mistral's files call themselves llama. */
const ARCHITECTURES = ['llama', 'qwen2', 'qwen3'] as const;

/** GGUF's names and ours; `N` is a layer. */
const NAMES: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
  'blk.N.attn_norm': 'model.layers.N.input_layernorm',
  'blk.N.attn_q': 'model.layers.N.self_attn.q_proj',
  'blk.N.attn_k': 'model.layers.N.self_attn.k_proj',
  'blk.N.attn_v': 'model.layers.N.self_attn.v_proj',
  'blk.N.attn_q_norm': 'model.layers.N.self_attn.q_norm',
  'blk.N.attn_k_norm': 'model.layers.N.self_attn.k_norm',
  'blk.N.attn_output': 'model.layers.N.self_attn.o_proj',
  'blk.N.ffn_norm': 'model.layers.N.post_attention_layernorm',
  'blk.N.ffn_gate': 'model.layers.N.mlp.gate_proj',
  'blk.N.ffn_up': 'model.layers.N.mlp.up_proj',
  'blk.N.ffn_down': 'model.layers.N.mlp.down_proj',
};

/** Divisors of RoPE's frequencies, as Llama 3 has them: part of the config, not a weight. */
const ROPE_FACTORS = 'rope_freqs.weight';

/**
 * @param sha256 of the file
 * @throws ModelError naming the file, the field or the tensor, what was expected and what came
 */
export async function ggufCheckpoint(
  id: string,
  file: Gguf,
  sha256: () => Promise<string>,
): Promise<Checkpoint> {
  const name = file.text('general.architecture');
  const known = ARCHITECTURES.find((one) => one === name);
  if (!known)
    throw new ModelError(
      `gguf ${file.name}: general.architecture: expected ${ARCHITECTURES.join(', ')}, it is ${JSON.stringify(name.slice(0, 40))}. Take the model as a folder with safetensors, if it is one of the other families.`,
      'unsupported_architecture',
    );
  const architecture = await readArchitecture(id, await configOf(file, known));
  const isTurned = (name: string): boolean => known === 'llama' && /\.attn_[qk]\./.test(name);
  const stored: TensorFile = {
    names: () => file.names().filter((name) => name !== ROPE_FACTORS),
    info: (name) => file.info(name),
    chunks: (name, maxBytes) =>
      chunksOf(file, name, maxBytes, isTurned(name) ? architecture.dims.S : undefined),
  };
  const tensors = checkTensors(id, stored, { ...architecture, canonical: ourName }, file.name);
  return { id, architecture, ...ggufTokenizer(file), tensors, sha256 };
}

/** The fields of a `config.json` that say the same. */
async function configOf(file: Gguf, architecture: string): Promise<Record<string, unknown>> {
  const at = (field: string): string => `${architecture}.${field}`;
  const has = new Set(file.names());
  if (!has.has('token_embd.weight')) throw file.fault('expected a tensor "token_embd.weight", there is none');
  const experts = file.number(at('expert_count'), 0);
  if (experts > 0)
    throw file.fault(`expected one MLP a layer, it has ${experts} experts`, 'Take another model.');
  const [D, H] = [file.number(at('embedding_length')), file.number(at('attention.head_count'))];
  const S = file.number(at('attention.key_length'), D / H);
  if (file.number(at('attention.value_length'), S) !== S)
    throw file.fault('expected keys and values of one length, they differ', 'Take another model.');
  const context = file.number(at('context_length'));
  return {
    model_type: architecture,
    ...{ hidden_size: D, num_attention_heads: H, head_dim: S, hidden_act: 'silu' },
    num_key_value_heads: file.number(at('attention.head_count_kv'), H),
    intermediate_size: file.number(at('feed_forward_length')),
    num_hidden_layers: file.number(at('block_count')),
    vocab_size: file.info('token_embd.weight').shape[0],
    // Exact for texts up to the window of those that attend to a window.
    max_position_embeddings: Math.min(context, file.number(at('attention.sliding_window'), context)),
    rms_norm_eps: file.number(at('attention.layer_norm_rms_epsilon')),
    rope_parameters: await ropeOf(file, at, S),
    tie_word_embeddings: !has.has('output.weight'),
    attention_bias: has.has('blk.0.attn_q.bias'),
    mlp_bias: has.has('blk.0.ffn_down.bias'),
  };
}

async function ropeOf(
  file: Gguf,
  at: (field: string) => string,
  S: number,
): Promise<Record<string, unknown>> {
  const rope = {
    rope_theta: file.number(at('rope.freq_base'), 10_000),
    partial_rotary_factor: file.number(at('rope.dimension_count'), S) / S,
  };
  const type = file.text(at('rope.scaling.type'), 'none');
  if (type === 'linear') return { ...rope, rope_type: type, factor: file.number(at('rope.scaling.factor')) };
  if (type !== 'none') return { ...rope, rope_type: type }; // refused by name where a config is read
  if (!file.names().includes(ROPE_FACTORS)) return { ...rope, rope_type: 'default' };
  const { dtype, bytes } = file.info(ROPE_FACTORS);
  if (dtype !== 'F32' || bytes > 4096)
    throw file.fault(`expected ${ROPE_FACTORS} as a short list of F32, it is ${dtype} in ${bytes} bytes`);
  const divisors = [...new Float32Array((await file.read(ROPE_FACTORS, 0, bytes)).buffer)];
  return { ...rope, rope_type: 'divisors', divisors };
}

function ourName(name: string): string {
  const [, base = '', end = ''] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  const layer = /^blk\.(\d+)\./.exec(base)?.[1] ?? '';
  const known = NAMES[base.replace(/^blk\.\d+\./, 'blk.N.')];
  return known === undefined ? name : `${known.replace('.N.', `.${layer}.`)}.${end}`;
}

/**
 * Pieces of whole blocks; with heads of S rows, of whole heads with their rows put back: of each head, the file has row
 * 2j + i where the checkpoint has row i S/2 + j.
 */
async function* chunksOf(
  file: Gguf,
  name: string,
  maxBytes: number,
  S: number | undefined,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const { dtype, shape, bytes } = file.info(name);
  const row = bytes / (shape[0] ?? 1);
  const unit = S === undefined ? unitOf(dtype).bytes : S * row;
  const step = Math.max(unit, Math.floor(maxBytes / unit) * unit);
  for (let from = 0; from < bytes; from += step) {
    const piece = await file.read(name, from, Math.min(step, bytes - from));
    if (S === undefined) yield piece;
    else {
      const ordered = new Uint8Array(piece.length);
      for (let at = 0, r = 0; at < piece.length; at += row, r += 1) {
        const [head, place] = [Math.floor(r / S), r % S];
        const theirs = head * S + 2 * (place % (S / 2)) + Math.floor(place / (S / 2));
        ordered.set(piece.subarray(theirs * row, (theirs + 1) * row), at);
      }
      yield ordered;
    }
  }
}
