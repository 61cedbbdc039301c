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
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Batch, GpuBatch } from '../models/batch.ts';
import type { LayerCache } from '../models/attention.ts';
import type { Model } from '../models/model.ts';
import { gatherRows } from '../tensor/rows.ts';
import { upload } from '../tensor/tensor.ts';
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
    const inject = (inner: Scope, i: number, _k: Tensor, m: Tensor): Tensor =>
      i === layer ? addAtRows(inner, m, delta, lookups) : m;
    return reached(
      model.blocks(step, model.embed(step, device), device, 0, model.config.n_layer, { mlp: inject }),
    );
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
  const cache = cachePrefix(owner, s, model, layer, x, prefixes, prefixTokens);

  const suffix = packRows(ids, { from: lookups });
  const device = uploadBatch(owner, suffix);
  const suffixTokens = ids.flatMap((row, b) =>
    row.flatMap((_, position) => (position < (lookups[b] ?? 0) ? [] : [tokenIndex(batch, b, position)])),
  );
  const start = gatherRows(owner, x, indices(s, suffixTokens, 'suffix_tokens'));
  const firsts = lookupRows(owner, suffix, rows);
  const forward = (step: Scope, delta: Tensor): Tensor =>
    reached(
      model.blocks(
        step,
        addAtRows(step, start, delta, firsts),
        device,
        layer + 1,
        model.config.n_layer,
        {},
        cache,
      ),
    );
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
  const capture = (_: Scope, i: number, k: Tensor, m: Tensor): Tensor => {
    if (i === layer) {
      found.keys = gatherRows(owner, k, rewrites);
      found.values = gatherRows(owner, m, rewrites);
    }
    return m;
  };
  const x = reached(model.blocks(s, model.embed(s, batch), batch, 0, layer + 1, { mlp: capture }));
  const { keys, values } = found;
  if (!keys || !values) throw new RangeError(`edit: layer ${layer} was not reached.`);
  return { keys, values, x };
}

/** Keys and values, in every layer above l, of the tokens before the lookups; they belong to `owner`. */
function cachePrefix(
  owner: Scope,
  s: Scope,
  model: Model,
  layer: number,
  x: Tensor,
  prefixes: readonly number[][],
  tokens: number[],
): (layer: number) => LayerCache | undefined {
  const kept = new Map<number, LayerCache>();
  const last = model.config.n_layer - 1;
  if (tokens.length > 0 && layer < last) {
    const batch = uploadBatch(s, packRows(prefixes));
    const keep = (inner: Scope, i: number, qkv: Tensor): boolean => {
      kept.set(i, { rows: inner.keep(qkv, owner), stride: qkv.cols, keys: model.config.n_embd });
      return i === last; // beyond its keys and values, nobody reads the prefix in the last layer
    };
    model.blocks(s, gatherRows(s, x, indices(s, tokens, 'prefix_tokens')), batch, layer + 1, last + 1, {
      qkv: keep,
    });
  }
  return (i) => kept.get(i);
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

function indices(s: Scope, list: number[], label: string): Tensor {
  return upload(s, Uint32Array.from(list), [list.length], label);
}

function reached(x: Tensor | undefined): Tensor {
  if (!x) throw new RangeError('edit: the forward pass ended early.');
  return x;
}
