/**
 * What an edit never recomputes.
 *
 * delta is added to the residual stream after the edit layer l at the subject's last token: to what its MLP adds, which is
 * the same. Attention looks back only, so nothing at or below layer l depends on delta, and nothing at earlier positions
 * does either. Those activations, and the keys and values that later tokens still read, are computed once; each of the 20
 * steps runs the suffix alone:
 *
 *   tokens  0 … lookup−1 | lookup … end
 *   l+1 …   K, V cached  | every step, forward and back
 *   0 … l   once         | once
 *
 * Beginnings that rows share, as the sampled contexts of many requests, are computed once for all of them; and beyond its
 * attention the last block goes on with the tokens whose logits are read.
 *
 * Rows of several requests lie in one batch, a request after another: its contexts, then its KL row. A pass may leave
 * requests out whose search has ended.
 *
 * With `freeze: false` every step runs all tokens through all layers, as the published code does; a test holds the
 * two against each other.
 */
import type { Scope } from '../gpu/scope.ts';
import type { Hook } from '../models/architecture.ts';
import { type Batch, packRows, startsOf, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { type PrefixCacheOptions, PrefixCache, prefixCache } from '../models/prefix-cache.ts';
import { sharePrefixes } from '../models/shared-prefix.ts';
import { gatherRows } from '../tensor/gather.ts';
import { type Tensor, indices } from '../tensor/tensor.ts';
import { addAtRows, lookupsOf } from './add-at-rows.ts';
import type { EditRows } from './rows.ts';
import { type LossTable, lossTable } from './value-loss.ts';

/** The part of the model that lies between delta and the loss, for some of the requests. */
export interface SuffixPass extends LossTable {
  /** [R, D] the stream after the last block where the loss reads logits, as the table has them; delta [n, D] is added at the lookups. */
  readonly forward: (s: Scope, delta: Tensor) => Tensor;
  /** Tokens that a step runs. */
  readonly tokens: number;
}

/** What the contexts of n requests, c each, gave in the first pass, request by request. */
export interface Suffix {
  /** [n c, F], [n c, D] and [n c, D]: key, value (MLP output) and stream after the layer at the subject's last token. */
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly streams: Tensor;
  /** @param active requests, ascending; the pass lives as long as `owner` */
  readonly pass: (owner: Scope, active: readonly number[]) => SuffixPass;
}

type Shared = NonNullable<PrefixCacheOptions['shared']>;

/** A row of the batch. */
interface Row {
  readonly request: number;
  readonly ids: readonly number[];
  readonly lookup: number;
  /** Positions whose logits the loss reads; of a KL row its lookup. */
  readonly read: readonly number[];
  readonly isDrift: boolean;
}

/** Runs the contexts once and keeps, in `owner`, what the steps need. */
export function openSuffix(
  owner: Scope,
  model: Model,
  layer: number,
  requests: readonly EditRows[],
  freeze = true,
): Suffix {
  const rows = requests.flatMap((request, r) => rowsOf(request, r, freeze));
  return owner.gpu.record((s) => {
    const texts = rows.map(({ ids }) => ids);
    const { prefixes, ...sharing } = sharePrefixes(
      texts,
      rows.map(({ lookup }) => lookup),
    );
    const to = freeze ? model.dims.layers : layer + 1;
    const shared = { ...sharing, cache: prefixCache(s, model, prefixes, { to }) };
    const batch = packRows(texts, shared);
    const { x, ...found } = firstPass(owner, s, model, layer, rows, { batch, cache: shared.cache });
    const prefix = freeze ? keepPrefix(owner, s, model, layer, rows, { batch, x, shared }) : undefined;
    return {
      ...found,
      pass: (scope, active) => {
        const kept = rows.map((_, b) => b).filter((b) => active.includes(rows[b]?.request ?? -1));
        const chosen = kept.map((b) => rows[b] as Row);
        const packed = packRows(
          chosen.map(({ ids }) => ids),
          prefix && {
            from: chosen.map(({ lookup }) => lookup),
            cacheStart: kept.map((b) => prefix.cacheStart[b] ?? 0),
          },
        );
        const device = uploadBatch(scope, packed);
        const places = chosen.map(({ lookup }, i) => tokenIndex(packed, i, lookup));
        const lookups = lookupsOf(
          scope,
          requests.map((_, r) => places.filter((_at, i) => chosen[i]?.request === r)),
        );
        const read = (drifts: boolean): number[] =>
          chosen.flatMap(({ isDrift, read: positions }, i) =>
            isDrift === drifts ? positions.map((position) => tokenIndex(packed, i, position)) : [],
          );
        const table = lossTable(
          scope,
          active.map((request) => {
            const { rewrites, targetIds } = requests[request] as EditRows;
            return { request, contexts: rewrites.length, targetIds };
          }),
        );
        const lossRows = indices(scope, [...read(false), ...read(true)], 'loss_rows');
        const x = prefix && suffixOf(scope, prefix, kept);
        const frozen = prefix && { from: layer + 1, cache: prefix.cache, rows: lossRows };
        const forward: SuffixPass['forward'] = (step, delta) => {
          if (x) return model.forward(step, device, { x: addAtRows(step, x, delta, lookups), ...frozen });
          // Every step runs everything: the baseline that the frozen prefix is held against.
          const mlp: Hook = (inner, i, m) => (i === layer ? addAtRows(inner, m, delta, lookups) : undefined);
          return gatherRows(step, model.forward(step, device, { hooks: { mlp } }), lossRows);
        };
        return { ...table, forward, tokens: device.tokens };
      },
    };
  });
}

function rowsOf({ rewrites, klRow }: EditRows, request: number, freeze: boolean): Row[] {
  // The KL row is read at its lookup; what follows it has no effect.
  const ids = freeze ? klRow.ids.slice(0, klRow.lookup + 1) : klRow.ids;
  return [
    ...rewrites.map(({ ids, lookup, targets }) => ({ request, ids, lookup, read: targets, isDrift: false })),
    { request, ids, lookup: klRow.lookup, read: [klRow.lookup], isDrift: true },
  ];
}

/** What is never computed again. */
interface Prefix {
  /** Keys and values of the tokens before the lookups, and where those of each row begin. */
  readonly cache: PrefixCache;
  readonly cacheStart: readonly number[];
  /** The stream after the layer from the lookups on, row after row, and where each row begins. */
  readonly stream: Tensor;
  readonly starts: readonly number[];
}

/** The stream of the rows that are kept. */
function suffixOf(s: Scope, { stream, starts }: Prefix, kept: readonly number[]): Tensor {
  if (kept.length === starts.length - 1) return stream;
  const tokens = kept.flatMap((b) => {
    const from = starts[b] ?? 0;
    return Array.from({ length: (starts[b + 1] ?? 0) - from }, (_, i) => from + i);
  });
  return gatherRows(s, stream, indices(s, tokens, 'kept_tokens'));
}

/** Keeps the stream of the tokens from the lookups on, and keys and values of those before. */
function keepPrefix(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  rows: readonly Row[],
  { batch, x, shared }: { readonly batch: Batch; readonly x: Tensor; readonly shared: Shared },
): Prefix {
  const prefixes = rows.map(({ ids, lookup }) => ids.slice(0, lookup));
  const tokensOf = (from: (row: Row, b: number) => number, to: (row: Row) => number): number[] =>
    rows.flatMap((row, b) => {
      const first = from(row, b);
      return Array.from({ length: to(row) - first }, (_, i) => tokenIndex(batch, b, first + i));
    });
  const before = tokensOf(
    (_, b) => shared.from[b] ?? 0,
    ({ lookup }) => lookup,
  );
  const first = layer + 1;
  const isShared = shared.from.some((tokens) => tokens > 0);
  const own = prefixCache(isShared ? s : owner, model, prefixes, {
    x: before.length > 0 ? gatherRows(s, x, indices(s, before, 'prefix_tokens')) : undefined,
    ...{ from: first, shared },
  });
  const lengths = prefixes.map(({ length }) => length);
  const cache = isShared ? PrefixCache.joined(owner, s, shared, own, { lengths, first }) : own;
  const after = tokensOf(
    ({ lookup }) => lookup,
    ({ ids }) => ids.length,
  );
  return {
    ...{ cache, cacheStart: startsOf(lengths) },
    stream: gatherRows(owner, x, indices(s, after, 'suffix_tokens')),
    starts: startsOf(rows.map(({ ids, lookup }) => ids.length - lookup)),
  };
}

/** All tokens that are not in the cache, up to and including layer l: what stands at the lookups (not the KL rows'), and the stream x after it. */
function firstPass(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  rows: readonly Row[],
  { batch, cache }: { readonly batch: Batch; readonly cache: PrefixCache },
): Pick<Suffix, 'keys' | 'values' | 'streams'> & { x: Tensor } {
  const places = rows.flatMap(({ isDrift, lookup }, b) => (isDrift ? [] : [tokenIndex(batch, b, lookup)]));
  const lookups = indices(s, places, 'lookups');
  const found: { keys?: Tensor; values?: Tensor } = {};
  const key: Hook = (_, i, k) => {
    if (i === layer) found.keys = gatherRows(owner, k, lookups);
    return undefined;
  };
  const mlp: Hook = (_, i, m) => {
    if (i === layer) found.values = gatherRows(owner, m, lookups);
    return undefined;
  };
  const x = model.forward(s, uploadBatch(s, batch), { to: layer + 1, cache, hooks: { key, mlp } });
  const { keys, values } = found;
  if (!keys || !values) throw new RangeError(`edit: layer ${layer} was not reached.`);
  return { keys, values, streams: gatherRows(owner, x, lookups), x };
}

/** Token of the batch at `position` of row b; the row's cached tokens are not in the batch. */
function tokenIndex(batch: Batch, b: number, position: number): number {
  const start = batch.rowStarts[b] ?? 0;
  return start + position - (batch.positions[start] ?? 0);
}
