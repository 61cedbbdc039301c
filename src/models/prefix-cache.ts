/** Keys and values that are computed once and read by later passes: those of beginnings that rows share. */
import type { Scope } from '../gpu/scope.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Dimensions, Hook } from './architecture.ts';
import type { LayerCache } from './attention.ts';
import { packRows, uploadBatch } from './batch.ts';
import type { Model } from './model.ts';

export class PrefixCache {
  readonly #dims: Dimensions;
  readonly #layers = new Map<number, LayerCache>();

  constructor(dims: Dimensions) {
    this.#dims = dims;
  }

  /** With room for keys and values of so many tokens in every layer, to be filled by `append`. */
  static withRoom(s: Scope, dims: Dimensions, tokens: number): PrefixCache {
    const made = new PrefixCache(dims);
    const stride = 2 * dims.KV * dims.S;
    for (let i = 0; i < dims.layers; i += 1)
      made.#layers.set(i, { rows: empty(s, [tokens, stride], `cache.${i}`), stride, keys: 0 });
    return made;
  }

  /** undefined where nothing was kept. */
  layer(i: number): LayerCache | undefined {
    return this.#layers.get(i);
  }

  /** A `qkv` hook that keeps what a pass computes, as it is, in `owner`. */
  keep(owner: Scope): Hook {
    return (s, layer, qkv) => {
      if (s !== owner) s.keep(qkv, owner);
      this.#layers.set(layer, { rows: qkv, stride: qkv.cols, keys: this.#dims.H * this.#dims.S });
      return undefined;
    };
  }

  /** A `qkv` hook that copies keys and values of a pass's tokens to these rows of the cache (u32 [T], all different). */
  append(places: Tensor): Hook {
    return (s, layer, qkv) => {
      const cache = this.#layers.get(layer);
      if (!cache) throw new RangeError(`cache: there is no room for layer ${layer}.`);
      const [tokens, d] = [qkv.rows, cache.stride / 2];
      const bindings = { qkv, places, cache: cache.rows };
      s.gpu.run('models/append_cache', bindings, { tokens, d }, { threads: tokens * 2 * d });
      return undefined;
    };
  }
}

/**
 * Keys and values of whole rows in the blocks `from` on; rows may be empty. The pass ends at those of the last block:
 * beyond them nothing of a prefix is read.
 *
 * @param owner what the cache ends with
 * @param rows  token ids, which the cache holds one row after another
 * @param x     [T, D] the stream of their tokens that enters block `from`; absent: their embedding
 */
export function prefixCache(
  owner: Scope,
  model: Model,
  rows: readonly (readonly number[])[],
  { x, from = 0 }: { readonly x?: Tensor | undefined; readonly from?: number } = {},
): PrefixCache {
  const cache = new PrefixCache(model.dims);
  if (rows.every((row) => row.length === 0) || from >= model.dims.layers) return cache;
  const s = model.gpu.open();
  try {
    const batch = uploadBatch(s, packRows(rows));
    model.forward(s, batch, { x, from, stop: 'qkv', hooks: { qkv: cache.keep(owner) } });
  } finally {
    s.close();
  }
  return cache;
}
