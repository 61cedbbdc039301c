/** What the model has at the subject's last tokens of many texts: keys of a layer, or the stream after it. */
import type { Scope } from '../gpu/scope.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { prefixCache } from '../models/prefix-cache.ts';
import { sharePrefixes } from '../models/shared-prefix.ts';
import { Tensor, empty, indices } from '../tensor/tensor.ts';
import { meanRows } from './add-at-rows.ts';
import type { RewriteRow } from './rows.ts';

/** Context templates in groups: the bare prompt, then sampled ones. */
export type ContextGroups = readonly (readonly string[])[];

/** Of each context: the mean over groups of the mean within each, so that the bare prompt weighs as much as all others. */
export function groupWeights(groups: ContextGroups): number[] {
  return groups.flatMap((group) => group.map(() => 1 / (groups.length * group.length)));
}

export type Text = Pick<RewriteRow, 'ids' | 'lookup'>;

/** Tokens that one pass runs at most: more would not be faster. */
const MOST_TOKENS = 8192;

/**
 * Keys of a layer, [N, F]: of every request the weighted mean over its contexts.
 *
 * @param texts   request by request, `weights.length` of each
 * @param weights of the contexts
 */
export function keysOf(
  owner: Scope,
  model: Model,
  layer: number,
  texts: readonly Text[],
  weights: readonly number[],
): Tensor {
  return owner.gpu.record((s) => meanRows(owner, atLookups(s, model, layer, 'key', texts), weights, 'K'));
}

/**
 * @param site `key`: the input of the MLP's last matrix; `stream`: the residual stream after the block
 * @returns    [n, F] or [n, D], a row a text
 */
export function atLookups(
  owner: Scope,
  model: Model,
  layer: number,
  site: 'key' | 'stream',
  texts: readonly Text[],
): Tensor {
  const { D, F } = model.dims;
  const width = site === 'key' ? F : D;
  const all = empty(owner, [texts.length, width], site);
  let from = 0;
  while (from < texts.length) {
    let to = from;
    let tokens = 0;
    const room = Math.min(MOST_TOKENS, Math.floor(model.gpu.maxBindingBytes / (4 * F)));
    while (to < texts.length && (to === from || tokens + (texts[to]?.lookup ?? 0) < room))
      tokens += (texts[to++]?.lookup ?? 0) + 1;
    owner.gpu.record((s) => {
      const part = onePass(s, model, layer, site, texts.slice(from, to));
      owner.gpu.copy(part, new Tensor(all.block, part.shape, 'f32', all.offset + 4 * from * width));
    });
    from = to;
  }
  return all;
}

/** Beginnings that texts share, as the sampled contexts, are computed once. */
function onePass(
  s: Scope,
  model: Model,
  layer: number,
  site: 'key' | 'stream',
  texts: readonly Text[],
): Tensor {
  const rows = texts.map(({ ids, lookup }) => ids.slice(0, lookup + 1)); // what follows is not looked at
  const shared = sharePrefixes(
    rows,
    rows.map(({ length }) => length - 1),
  );
  const cache = prefixCache(s, model, shared.prefixes, { to: layer + 1 });
  const batch = packRows(rows, shared);
  const lasts = [...batch.rowStarts.subarray(1)].map((end) => end - 1);
  return model.forward(s, uploadBatch(s, batch), {
    ...{ to: layer + 1, cache, rows: indices(s, lasts, 'lookups') },
    stop: site === 'key' ? 'key' : undefined,
  });
}
