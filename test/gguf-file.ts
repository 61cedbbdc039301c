/** Writes GGUF files for tests: of a folder's checkpoint, as llama.cpp's converter lays it out, or of anything else. */
import type { Checkpoint } from '../src/models/checkpoint.ts';

export type Value = string | number | bigint | boolean | readonly (string | number | bigint)[];
/** Shape as everywhere, the last dimension the fastest. */
export interface Stored {
  type: number;
  shape: readonly number[];
  data: Uint8Array;
}
export interface Parts {
  metadata: Record<string, Value>;
  tensors: Map<string, Stored>;
}

export const TYPE = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8, Q2_K: 10, BF16: 30 } as const;

const utf8 = new TextEncoder();
const u32 = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
const u64 = (n: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(n)).buffer);
const i64 = (n: bigint): Uint8Array => new Uint8Array(BigInt64Array.of(n).buffer);
const text = (s: string): Uint8Array[] => [u64(utf8.encode(s).length), utf8.encode(s)];

/** Numbers are float32 but for whole ones, which are uint32 (int32 in lists); bigints are int64. */
function valueBytes(value: Value): Uint8Array[] {
  if (typeof value === 'string') return [u32(8), ...text(value)];
  if (typeof value === 'boolean') return [u32(7), Uint8Array.of(value ? 1 : 0)];
  if (typeof value === 'number')
    return Number.isInteger(value)
      ? [u32(4), u32(value)]
      : [u32(6), new Uint8Array(Float32Array.of(value).buffer)];
  if (typeof value === 'bigint') return [u32(11), i64(value)];
  if (value.every((one) => typeof one === 'string'))
    return [u32(9), u32(8), u64(value.length), ...value.flatMap((one) => text(one as string))];
  if (value.every((one) => typeof one === 'bigint'))
    return [u32(9), u32(11), u64(value.length), ...value.map((one) => i64(one as bigint))];
  const whole = value.every(Number.isInteger);
  const list = whole ? Int32Array.from(value as number[]) : Float32Array.from(value as number[]);
  return [u32(9), u32(whole ? 5 : 6), u64(value.length), new Uint8Array(list.buffer)];
}

export function ggufBytes({ metadata, tensors }: Parts, align = 32): Uint8Array<ArrayBuffer> {
  const head = [utf8.encode('GGUF'), u32(3), u64(tensors.size), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) head.push(...text(key), ...valueBytes(value));
  let offset = 0;
  const data: Uint8Array[] = [];
  for (const [name, { type, shape, data: bytes }] of tensors) {
    head.push(...text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    const padded = new Uint8Array(Math.ceil(bytes.length / align) * align);
    padded.set(bytes);
    data.push(padded);
    offset += padded.length;
  }
  const start = Buffer.concat(head);
  const pad = new Uint8Array(Math.ceil(start.length / align) * align - start.length);
  return Uint8Array.from(Buffer.concat([start, pad, ...data]));
}

const THEIRS: [RegExp, string][] = [
  [/^model\.embed_tokens\./, 'token_embd.'],
  [/^model\.norm\./, 'output_norm.'],
  [/^lm_head\./, 'output.'],
  [/^model\.layers\.(\d+)\.input_layernorm\./, 'blk.$1.attn_norm.'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm\./, 'blk.$1.ffn_norm.'],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj\./, 'blk.$1.attn_$2.'],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm\./, 'blk.$1.attn_$2_norm.'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj\./, 'blk.$1.attn_output.'],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\./, 'blk.$1.ffn_$2.'],
];

/** A permutation of a head's rows: from (2, S/2, row) to (S/2, 2, row). */
function permuted(data: Uint8Array, rows: number, S: number): Uint8Array {
  const row = data.length / rows;
  const out = new Uint8Array(data.length);
  for (let head = 0; head < rows / S; head += 1)
    for (const i of [0, 1])
      for (let j = 0; j < S / 2; j += 1) {
        const [from, to] = [head * S + (i * S) / 2 + j, head * S + 2 * j + i];
        out.set(data.subarray(from * row, (from + 1) * row), to * row);
      }
  return out;
}

/** What llama.cpp's converter would write of a folder, but for the tokenizer's metadata. */
export async function partsOf(
  { architecture: { name, dims }, tensors }: Checkpoint,
  config: Readonly<Record<string, unknown>>,
): Promise<Parts> {
  const at = name === 'mistral' ? 'llama' : name;
  const stored = new Map<string, Stored>();
  for (const one of tensors.names()) {
    const { dtype, shape } = tensors.info(one);
    let data: Uint8Array = new Uint8Array();
    for await (const piece of tensors.chunks(one, 2 ** 26)) data = Buffer.concat([data, piece]);
    if (at === 'llama' && /\.[qk]_proj\./.test(one)) data = permuted(data, shape[0] ?? 1, dims.S);
    const [pattern, theirs] = THEIRS.find(([p]) => p.test(one))!;
    stored.set(one.replace(pattern, theirs), { type: TYPE[dtype as 'F32'], shape, data });
  }
  const rope = (config['rope_parameters'] ?? {}) as Record<string, number>;
  return {
    metadata: {
      'general.architecture': at,
      [`${at}.block_count`]: dims.layers,
      [`${at}.context_length`]: dims.context,
      [`${at}.embedding_length`]: dims.D,
      [`${at}.feed_forward_length`]: dims.F,
      [`${at}.attention.head_count`]: dims.H,
      [`${at}.attention.head_count_kv`]: dims.KV,
      [`${at}.attention.key_length`]: dims.S,
      [`${at}.attention.value_length`]: dims.S,
      [`${at}.attention.layer_norm_rms_epsilon`]: config['rms_norm_eps'] as number,
      [`${at}.rope.freq_base`]: (config['rope_theta'] as number | undefined) ?? rope['rope_theta'] ?? 10_000,
      [`${at}.rope.dimension_count`]: dims.S,
    },
    tensors: stored,
  };
}

interface TokenizerFile {
  model: { vocab: Record<string, number>; merges: ([string, string] | string)[] };
  added_tokens: { id: number; content: string; special: boolean }[];
}

/** The tokenizer's metadata, of a `tokenizer.json` of BPE. */
export function tokenizerOf(
  file: unknown,
  { pre, rows, bos }: { pre: string | undefined; rows: number; bos?: string | undefined },
): Record<string, Value> {
  const { model, added_tokens } = file as TokenizerFile;
  const tokens = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => 5);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content, special } of added_tokens) [tokens[id], types[id]] = [content, special ? 3 : 4];
  return {
    'tokenizer.ggml.model': 'gpt2',
    ...(pre === undefined ? {} : { 'tokenizer.ggml.pre': pre }),
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.merges': model.merges.map((merge) =>
      typeof merge === 'string' ? merge : merge.join(' '),
    ),
    ...(bos === undefined ? {} : { 'tokenizer.ggml.bos_token_id': tokens.indexOf(bos) }),
    'tokenizer.ggml.add_bos_token': bos !== undefined,
  };
}
