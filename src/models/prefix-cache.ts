/** Keys and values that are computed once and read by later passes: those of beginnings that rows share. */
import type { Scope } from '../gpu/scope.ts';
import { putRows } from '../tensor/gather.ts';
import { Tensor, empty, indices } from '../tensor/tensor.ts';
import type { Architecture, Hook } from './architecture.ts';
import type { LayerCache } from './attention.ts';
import { type Cached, packRows, startsOf, uploadBatch } from './batch.ts';
import { type HeadLayout, qkvWidth } from './heads.ts';
import type { Model } from './model.ts';

/** Up to so many tokens a copy each costs a software adapter less than to wake its threads for a kernel. */
const FEW_TOKENS = 16;

export class PrefixCache {
  readonly #heads: HeadLayout;
  readonly #layers = new Map<number, LayerCache>();

  constructor({ heads }: Pick<Architecture, 'heads'>) {
    this.#heads = heads;
  }

  /** With room for keys and values of so many tokens in every layer, to be filled by `append`. */
  static withRoom(s: Scope, { heads, dims }: Architecture, tokens: number): PrefixCache {
    const made = new PrefixCache({ heads });
    const stride = qkvWidth(heads) - heads.k; // from the first key on, whatever lies between keys and values
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
      this.#layers.set(layer, { rows: qkv, stride: qkv.cols, keys: this.#heads.k });
      return undefined;
    };
  }

  /**
   * What rows share and what is their own, as `prefixCache` kept it in `s`, as whole rows one after another, in the
   * blocks `first` on. The two caches are given back.
   *
   * @param lengths of the rows
   */
  static joined(
    owner: Scope,
    s: Scope,
    { cache, from, cacheStart = startsOf(from) }: NonNullable<PrefixCacheOptions['shared']>,
    own: PrefixCache,
    { lengths, first }: { readonly lengths: readonly number[]; readonly first: number },
  ): PrefixCache {
    const copies = [cache, own].map((part) => ({ part, places: [] as number[], sources: [] as number[] }));
    const [ofShared, ofOwn] = copies;
    let total = 0;
    lengths.forEach((length, b) => {
      const shared = from[b] ?? 0;
      for (let t = 0; t < length; t += 1) {
        const copied = t < shared ? ofShared : ofOwn;
        copied?.sources.push(t < shared ? (cacheStart[b] ?? 0) + t : copied.sources.length);
        copied?.places.push(total++);
      }
    });
    const made = new PrefixCache({ heads: cache.#heads });
    const parts = copies
      .filter(({ places }) => places.length > 0)
      .map(({ part, places, sources }) => ({
        part,
        places: indices(s, places, 'cache_places'),
        sources: indices(s, sources, 'cache_sources'),
      }));
    for (const [i, layout] of new Map([...cache.#layers, ...own.#layers])) {
      if (i < first) continue;
      const rows = empty(owner, [total, layout.rows.cols], `cache.${i}`);
      for (const { part, places, sources } of parts) {
        const kept = part.#layers.get(i) as LayerCache;
        putRows(s, rows, kept.rows, places, sources);
        s.release(kept.rows);
      }
      made.#layers.set(i, { ...layout, rows });
    }
    return made;
  }

  /**
   * A `qkv` hook that copies keys and values of a pass's tokens to rows of the cache.
   *
   * @param slots [T] the row of each token, all different
   */
  append(owner: Scope, slots: readonly number[]): Hook {
    const isCopied = owner.gpu.adapter.kind === 'software' && slots.length <= FEW_TOKENS;
    const places = isCopied ? undefined : indices(owner, slots, 'cache_slots');
    const tokens = isCopied ? undefined : indices(owner, [...slots.keys()], 'cache_tokens');
    return (s, layer, qkv) => {
      const cache = this.#layers.get(layer);
      if (!cache) throw new RangeError(`cache: there is no room for layer ${layer}.`);
      const { rows, stride } = cache;
      const first = this.#heads.k;
      if (places && tokens) putRows(s, rows, qkv, places, tokens, { first });
      else
        slots.forEach((slot, t) => {
          const from = new Tensor(qkv.block, [stride], 'f32', qkv.offset + 4 * (t * qkv.cols + first));
          const to = new Tensor(rows.block, [stride], 'f32', rows.offset + 4 * slot * stride);
          s.gpu.copy(from, to);
        });
      return undefined;
    };
  }
}

export interface PrefixCacheOptions {
  /** [T, D] the stream of the tokens that enters block `from`; absent: their embedding. */
  readonly x?: Tensor | undefined;
  readonly from?: number;
  /** The first block that keeps nothing; absent: all keep. */
  readonly to?: number;
  /** Beginnings of the rows that another cache holds: their tokens are not computed, and this one does not hold them. */
  readonly shared?: (Cached & { readonly cache: PrefixCache }) | undefined;
}

/**
 * Keys and values of whole rows in the blocks `from` on; rows may be empty. The pass ends at those of the last block:
 * beyond them nothing of a prefix is read.
 *
 * @param owner what the cache ends with
 * @param rows  token ids, which the cache holds one row after another
 */
export function prefixCache(
  owner: Scope,
  model: Model,
  rows: readonly (readonly number[])[],
  { x, from = 0, to = model.dims.layers, shared }: PrefixCacheOptions = {},
): PrefixCache {
  const cache = new PrefixCache(model.architecture);
  if (rows.every((row, b) => row.length === (shared?.from[b] ?? 0)) || from >= to) return cache;
  model.gpu.record((s) => {
    const batch = uploadBatch(s, packRows(rows, shared));
    const hooks = { qkv: cache.keep(owner) };
    model.forward(s, batch, { x, from, to, cache: shared?.cache, stop: 'qkv', hooks });
  });
  return cache;
}
