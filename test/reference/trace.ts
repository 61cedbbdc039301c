/** Causal tracing in float64, the plain way: every restoration is a whole forward pass of every sample. */
import { attention, gpt2Heads } from './attention.ts';
import { gelu } from './activations.ts';
import { layernorm } from './layernorm.ts';
import { matmulReference } from './matmul.ts';

export interface ReferenceModel {
  config: { n_layer: number; n_embd: number; n_head: number; vocab_size: number; layer_norm_epsilon: number };
  /** By Hugging Face's names. */
  tensor: (name: string) => ArrayLike<number>;
}

/** What a pass writes down, or puts in place of what it computed: [T, D] by site and layer. */
export interface Pass {
  noise?: ArrayLike<number>;
  replace?: (site: string, layer: number, y: Float64Array) => void;
}

/** Logits [T, V] of one row. */
function forward({ config, tensor }: ReferenceModel, ids: readonly number[], pass: Pass = {}): Float64Array {
  const { n_layer, n_embd: D, n_head: heads, vocab_size: V, layer_norm_epsilon: eps } = config;
  const T = ids.length;
  const linear = (x: Float64Array, name: string, inner: number, outer: number): Float64Array =>
    matmulReference(x, tensor(`${name}.weight`), [T, inner, outer], { bias: tensor(`${name}.bias`) });
  const norm = (x: Float64Array, name: string): Float64Array =>
    layernorm(x, tensor(`${name}.weight`), tensor(`${name}.bias`), eps);
  const [wte, wpe] = [tensor('wte.weight'), tensor('wpe.weight')];
  const x = Float64Array.from({ length: T * D }, (_, i) => {
    const [t, d] = [Math.floor(i / D), i % D];
    return wte[ids[t]! * D + d]! + wpe[i]! + (pass.noise?.[i] ?? 0);
  });
  const spans = ids.flatMap((_, t) => [0, 0, 0, t + 1]);
  for (let l = 0; l < n_layer; l += 1) {
    const h = `h.${l}`;
    const qkv = linear(norm(x, `${h}.ln_1`), `${h}.attn.c_attn`, D, 3 * D);
    const mixed = attention({
      qkv,
      cache: [],
      cacheStride: 0,
      cacheK: 0,
      spans,
      heads: gpt2Heads(heads, D / heads),
    }).out;
    const a = linear(mixed, `${h}.attn.c_proj`, D, D);
    pass.replace?.('attention', l, a);
    a.forEach((value, i) => (x[i]! += value));
    const k = linear(norm(x, `${h}.ln_2`), `${h}.mlp.c_fc`, D, 4 * D).map(gelu);
    const m = linear(k, `${h}.mlp.c_proj`, 4 * D, D);
    pass.replace?.('mlp', l, m);
    m.forEach((value, i) => (x[i]! += value));
    pass.replace?.('state', l, x);
  }
  return matmulReference(norm(x, 'ln_f'), wte, [T, D, V], { transposeB: true });
}

/** ∏_t p(object_t | prompt, object before it) */
export function objectProbability(
  model: ReferenceModel,
  prompt: readonly number[],
  object: readonly number[],
  pass: Pass = {},
): number {
  const V = model.config.vocab_size;
  const logits = forward(model, [...prompt, ...object.slice(0, -1)], pass);
  return object.reduce((product, id, t) => {
    const row = logits.subarray((prompt.length - 1 + t) * V, (prompt.length + t) * V);
    const top = row.reduce((most, z) => Math.max(most, z), -Infinity);
    const sum = row.reduce((total, z) => total + Math.exp(z - top), 0);
    return (product * Math.exp(row[id]! - top)) / sum;
  }, 1);
}

/** The mean P*, clean h [o] over samples, with rows of `token` restored at `site` in layers from up to but without to. */
export function restoredProbability(
  model: ReferenceModel,
  prompt: readonly number[],
  object: readonly number[],
  noises: readonly ArrayLike<number>[],
  restored?: { site: string; token: number; layers: readonly [number, number] },
): number {
  const D = model.config.n_embd;
  const clean = new Map<string, Float64Array>();
  objectProbability(model, prompt, object, {
    replace: (site, layer, y) => void clean.set(`${site} ${layer}`, y.slice()),
  });
  const replace = (site: string, layer: number, y: Float64Array): void => {
    if (!restored || site !== restored.site || layer < restored.layers[0] || layer >= restored.layers[1])
      return;
    const { token } = restored;
    y.set(clean.get(`${site} ${layer}`)!.subarray(token * D, (token + 1) * D), token * D);
  };
  const all = noises.map((noise) => objectProbability(model, prompt, object, { noise, replace }));
  return all.reduce((sum, p) => sum + p, 0) / all.length;
}
