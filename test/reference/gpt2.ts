/** GPT-2's forward pass over one row of tokens in float64, from the definition. */
import { attention, gpt2Heads } from './attention.ts';
import { gelu } from './activations.ts';
import { layernorm } from './layernorm.ts';
import { matmulReference } from './matmul.ts';

/** The numbers of a tensor, by its Hugging Face name. */
export type Read = (name: string) => Promise<ArrayLike<number>>;

/** ln_f(x) of every token, [T, D]: its products with rows of wte are the logits. */
export async function finalStates(
  ids: readonly number[],
  config: Readonly<Record<'n_embd' | 'n_inner' | 'n_head' | 'n_layer' | 'layer_norm_epsilon', number>>,
  read: Read,
): Promise<Float64Array> {
  const { n_embd: D, n_inner: F, n_head: heads, n_layer, layer_norm_epsilon: eps } = config;
  const T = ids.length;
  const [wte, wpe] = [await read('wte.weight'), await read('wpe.weight')];
  let x: Float64Array = Float64Array.from({ length: T * D }, (_, e) => {
    const [t, d] = [Math.floor(e / D), e % D];
    return wte[ids[t]! * D + d]! + wpe[t * D + d]!;
  });
  const spans = ids.flatMap((_, t) => [0, 0, 0, t + 1]);
  const norm = async (name: string): Promise<Float64Array> =>
    layernorm(x, await read(`${name}.weight`), await read(`${name}.bias`), eps);
  const linear = async (a: ArrayLike<number>, name: string, k: number, n: number): Promise<Float64Array> =>
    matmulReference(a, await read(`${name}.weight`), [T, k, n], { bias: await read(`${name}.bias`) });
  const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i]!);
  for (let i = 0; i < n_layer; i += 1) {
    const qkv = await linear(await norm(`h.${i}.ln_1`), `h.${i}.attn.c_attn`, D, 3 * D);
    const cache = { cache: [], cacheStride: 0, cacheK: 0 };
    const { out } = attention({ qkv, ...cache, spans, heads: gpt2Heads(heads, D / heads) });
    x = sum(x, await linear(out, `h.${i}.attn.c_proj`, D, D));
    const k = (await linear(await norm(`h.${i}.ln_2`), `h.${i}.mlp.c_fc`, D, F)).map(gelu);
    x = sum(x, await linear(k, `h.${i}.mlp.c_proj`, F, D));
  }
  return norm('ln_f');
}
