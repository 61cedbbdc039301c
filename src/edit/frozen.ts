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
 * Rows of several requests lie in one batch, a request after another: its contexts, then its KL row. A pass may leave
 * requests out whose search has ended.
 *
 * With `freeze: false` every step runs all tokens through all layers, as the published code does; a test holds the
 * two against each other.
 */
import type { Scope } from '../gpu/scope.ts';
import type { Hook } from '../models/architecture.ts';
import { packRows, startsOf, uploadBatch } from '../models/batch.ts';
import type { Batch, GpuBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { prefixCache } from '../models/prefix-cache.ts';
import { gatherRows } from '../tensor/gather.ts';
import { indices } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { addAtRows, lookupsOf } from './add-at-rows.ts';
import type { Lookups } from './add-at-rows.ts';
import type { EditRows } from './rows.ts';
import { lossTable } from './value-loss.ts';
import type { LossTable } from './value-loss.ts';

/** The part of the model that lies between delta and the loss, for some of the requests. */
export interface SuffixPass extends LossTable {
  /** The residual stream after the last block, with delta [n, D] added at the lookups. */
  readonly forward: (s: Scope, delta: Tensor) => Tensor;
  /** u32 [R]: rows of that stream whose logits the loss reads, as the table has them. */
  readonly lossRows: Tensor;
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
  const s = owner.gpu.open();
  try {
    const batch = packRows(rows.map(({ ids }) => ids));
    const { x, ...found } = firstPass(owner, s, model, layer, batch, rows);
    const prefix = freeze ? keepPrefix(owner, s, model, layer, rows, { batch, x }) : undefined;
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
        const forward = prefix
          ? prefix.forward(scope, kept, device, lookups)
          : whole(model, layer, device, lookups);
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
        return { ...table, forward, lossRows, tokens: device.tokens };
      },
    };
  } finally {
    s.close();
  }
}

function rowsOf({ rewrites, klRow }: EditRows, request: number, freeze: boolean): Row[] {
  // The KL row is read at its lookup; what follows it has no effect.
  const ids = freeze ? klRow.ids.slice(0, klRow.lookup + 1) : klRow.ids;
  return [
    ...rewrites.map(({ ids, lookup, targets }) => ({ request, ids, lookup, read: targets, isDrift: false })),
    { request, ids, lookup: klRow.lookup, read: [klRow.lookup], isDrift: true },
  ];
}

/** Every step runs everything: the baseline that the frozen prefix is held against. */
function whole(model: Model, layer: number, device: GpuBatch, lookups: Lookups): SuffixPass['forward'] {
  return (step, delta) => {
    const mlp: Hook = (inner, i, m) => (i === layer ? addAtRows(inner, m, delta, lookups) : undefined);
    return model.forward(step, device, { hooks: { mlp } });
  };
}

interface Prefix {
  /** Where the cache holds the first token of each row. */
  readonly cacheStart: readonly number[];
  readonly forward: (
    owner: Scope,
    kept: readonly number[],
    device: GpuBatch,
    lookups: Lookups,
  ) => SuffixPass['forward'];
}

/** Keeps the stream of the tokens from the lookups on, and keys and values of those before. */
function keepPrefix(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  rows: readonly Row[],
  { batch, x }: { readonly batch: Batch; readonly x: Tensor },
): Prefix {
  const prefixes = rows.map(({ ids, lookup }) => ids.slice(0, lookup));
  const tokensOf = (from: (row: Row) => number, to: (row: Row) => number): number[] =>
    rows.flatMap((row, b) =>
      Array.from({ length: to(row) - from(row) }, (_, i) => tokenIndex(batch, b, from(row) + i)),
    );
  const before = tokensOf(
    () => 0,
    ({ lookup }) => lookup,
  );
  const cache = prefixCache(owner, model, prefixes, {
    x: before.length > 0 ? gatherRows(s, x, indices(s, before, 'prefix_tokens')) : undefined,
    from: layer + 1,
  });
  const after = tokensOf(
    ({ lookup }) => lookup,
    ({ ids }) => ids.length,
  );
  const start = gatherRows(owner, x, indices(s, after, 'suffix_tokens'));
  const starts = startsOf(rows.map(({ ids, lookup }) => ids.length - lookup));
  return {
    cacheStart: startsOf(prefixes.map(({ length }) => length)),
    forward: (scope, kept, device, lookups) => {
      const tokens = kept.flatMap((b) => {
        const from = starts[b] ?? 0;
        return Array.from({ length: (starts[b + 1] ?? 0) - from }, (_, i) => from + i);
      });
      const mine =
        kept.length === rows.length ? start : gatherRows(scope, start, indices(scope, tokens, 'kept_tokens'));
      return (step, delta) =>
        model.forward(step, device, { x: addAtRows(step, mine, delta, lookups), from: layer + 1, cache });
    },
  };
}

/** All tokens up to and including layer l: what stands at the lookups (not the KL rows'), and the stream x after it. */
function firstPass(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  batch: Batch,
  rows: readonly Row[],
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
  const x = model.forward(s, uploadBatch(s, batch), { to: layer + 1, hooks: { key, mlp } });
  const { keys, values } = found;
  if (!keys || !values) throw new RangeError(`edit: layer ${layer} was not reached.`);
  return { keys, values, streams: gatherRows(owner, x, lookups), x };
}

/** Token of the batch at `position` of row b; the row's cached tokens are not in the batch. */
function tokenIndex(batch: Batch, b: number, position: number): number {
  const start = batch.rowStarts[b] ?? 0;
  return start + position - (batch.positions[start] ?? 0);
}
