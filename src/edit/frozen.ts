/**
 * What an edit never recomputes.
 *
 * delta is added to the MLP output of the edit layer l at the subject's last token. Attention looks back only, so
 * nothing at or below layer l depends on delta, and nothing at earlier positions does either. Those activations, and
 * the keys and values that later tokens still read, are computed once; each of the 20 steps runs the suffix alone:
 *
 *   tokens  0 … lookup−1 | lookup … end
 *   l+1 …   K, V cached  | every step, forward and back
 *   0 … l   once         | once
 *
 * With `freeze: false` every step runs all tokens through all layers, as the published code does; a test holds the
 * two against each other.
 */
import type { Scope } from '../gpu/scope.ts';
import type { Hook } from '../models/architecture.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Batch, GpuBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { prefixCache } from '../models/prefix-cache.ts';
import { gatherRows } from '../tensor/gather.ts';
import { indices } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { addAtRows } from './add-at-rows.ts';
import type { EditRows } from './rows.ts';

/** The part of the model that lies between delta and the loss. */
export interface Suffix {
  /** [n, F] and [n, D]: key and value (MLP output) of the subject's last token in each context. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** The residual stream after the last block, with delta added at the lookups. */
  readonly forward: (s: Scope, delta: Tensor) => Tensor;
  /** u32 [R]: rows of that stream whose logits the loss reads; contexts in order, the KL row last. */
  readonly lossRows: Tensor;
  /** Tokens that a step runs. */
  readonly tokens: number;
}

/** Runs the contexts once and keeps, in `owner`, what the steps need. */
export function openSuffix(owner: Scope, model: Model, layer: number, rows: EditRows, freeze = true): Suffix {
  const s = owner.gpu.open();
  try {
    return freeze ? frozen(owner, s, model, layer, rows) : whole(owner, s, model, layer, rows);
  } finally {
    s.close();
  }
}

/** Every step runs everything: the baseline that the frozen prefix is held against. */
function whole(owner: Scope, s: Scope, model: Model, layer: number, rows: EditRows): Suffix {
  const batch = packRows([...rows.rewrites.map((row) => row.ids), rows.klRow.ids]);
  const device = uploadBatch(owner, batch);
  const lookups = lookupRows(owner, batch, rows);
  const { keys, values } = firstPass(owner, s, model, layer, device, lookups);
  const forward = (step: Scope, delta: Tensor): Tensor => {
    const mlp: Hook = (inner, i, m) => (i === layer ? addAtRows(inner, m, delta, lookups) : undefined);
    return model.forward(step, device, { hooks: { mlp } });
  };
  return { keys, values, forward, lossRows: lossRows(owner, batch, rows), tokens: device.tokens };
}

function frozen(owner: Scope, s: Scope, model: Model, layer: number, rows: EditRows): Suffix {
  const lookups = [...rows.rewrites.map((row) => row.lookup), rows.klRow.lookup];
  // The KL row is read at its lookup; what follows it has no effect.
  const ids = [...rows.rewrites.map((row) => row.ids), rows.klRow.ids.slice(0, rows.klRow.lookup + 1)];
  const batch = packRows(ids);
  const { keys, values, x } = firstPass(
    owner,
    s,
    model,
    layer,
    uploadBatch(s, batch),
    lookupRows(s, batch, rows),
  );

  const prefixes = ids.map((row, b) => row.slice(0, lookups[b]));
  const prefixTokens = prefixes.flatMap((row, b) => row.map((_, position) => tokenIndex(batch, b, position)));
  const before =
    prefixTokens.length > 0 ? gatherRows(s, x, indices(s, prefixTokens, 'prefix_tokens')) : undefined;
  const cache = prefixCache(owner, model, prefixes, { x: before, from: layer + 1 });

  const suffix = packRows(ids, { from: lookups });
  const device = uploadBatch(owner, suffix);
  const suffixTokens = ids.flatMap((row, b) =>
    row.flatMap((_, position) => (position < (lookups[b] ?? 0) ? [] : [tokenIndex(batch, b, position)])),
  );
  const start = gatherRows(owner, x, indices(s, suffixTokens, 'suffix_tokens'));
  const firsts = lookupRows(owner, suffix, rows);
  const forward = (step: Scope, delta: Tensor): Tensor =>
    model.forward(step, device, { x: addAtRows(step, start, delta, firsts), from: layer + 1, cache });
  return { keys, values, forward, lossRows: lossRows(owner, suffix, rows), tokens: device.tokens };
}

/** All tokens up to and including layer l: keys and values at the lookups (not the KL row's), and the stream x after it. */
function firstPass(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  batch: GpuBatch,
  lookups: Tensor,
): { keys: Tensor; values: Tensor; x: Tensor } {
  const rewrites = lookups
    .reshape(lookups.size, 1)
    .slice(0, lookups.size - 1)
    .reshape(lookups.size - 1);
  const found: { keys?: Tensor; values?: Tensor } = {};
  const key: Hook = (_, i, k) => {
    if (i === layer) found.keys = gatherRows(owner, k, rewrites);
    return undefined;
  };
  const mlp: Hook = (_, i, m) => {
    if (i === layer) found.values = gatherRows(owner, m, rewrites);
    return undefined;
  };
  const x = model.forward(s, batch, { to: layer + 1, hooks: { key, mlp } });
  const { keys, values } = found;
  if (!keys || !values) throw new RangeError(`edit: layer ${layer} was not reached.`);
  return { keys, values, x };
}

/** Token of the batch at `position` of row b; the row's cached tokens are not in the batch. */
function tokenIndex(batch: Batch, b: number, position: number): number {
  const start = batch.rowStarts[b] ?? 0;
  return start + position - (batch.positions[start] ?? 0);
}

/** u32: tokens of the batch where delta is added; contexts in order, the KL row last. */
function lookupRows(s: Scope, batch: Batch, rows: EditRows): Tensor {
  const list = [...rows.rewrites.map((row) => row.lookup), rows.klRow.lookup];
  return indices(
    s,
    list.map((position, b) => tokenIndex(batch, b, position)),
    'lookups',
  );
}

/** u32: tokens whose logits the loss reads; those that predict each context's target, then the KL row's lookup. */
function lossRows(s: Scope, batch: Batch, rows: EditRows): Tensor {
  const targets = rows.rewrites.flatMap((row, b) =>
    row.targets.map((position) => tokenIndex(batch, b, position)),
  );
  return indices(s, [...targets, tokenIndex(batch, rows.rewrites.length, rows.klRow.lookup)], 'loss_rows');
}
