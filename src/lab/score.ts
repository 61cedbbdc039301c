/**
 * How likely a model finds given continuations, and what it would have said itself.
 *
 * All rows go packed into as few batches as memory allows; beginnings that rows share are computed once, and only the
 * tokens that predict a target get logits.
 */
import { UsageError } from '../errors.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import { logsumexp } from '../models/losses.ts';
import type { Model } from '../models/model.ts';
import { argmaxRows, nllAt } from '../models/pick.ts';
import { prefixCache } from '../models/prefix-cache.ts';
import { indices, read, readU32 } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { sharePrefixes } from '../models/shared-prefix.ts';

export interface Continuation {
  readonly prompt: readonly number[];
  /** [n] ids that are to follow, n > 0. */
  readonly target: readonly number[];
}

export interface Score {
  /** Mean over the target's tokens of −ln p(token | prompt, target before it). */
  readonly nll: number;
  /** [n] what the model puts first at each of these places. */
  readonly predicted: readonly number[];
  /** Target tokens that it puts first. */
  readonly hits: number;
}

/** Tokens of one batch: bounds the activations. */
const BATCH_TOKENS = 4096;
/** Bounds the logits that are alive at once. */
const LOGIT_BYTES = 64 * 2 ** 20;

/** @throws UsageError when either text is empty, or both together exceed the context window */
export function checkContinuation({ prompt, target }: Continuation, window: number, name: string): void {
  const length = prompt.length + target.length - 1;
  if (prompt.length === 0 || target.length === 0)
    throw new UsageError(`score: ${name} has an empty ${prompt.length === 0 ? 'prompt' : 'target'}.`);
  if (length > window)
    throw new UsageError(
      `score: ${name} has ${length} tokens, the context window holds ${window}. Shorten the text.`,
      'too_long',
    );
}

/**
 * Scores all items on the model's current weights.
 *
 * @throws UsageError when an item is empty, or exceeds the context window
 */
export async function score(model: Model, items: readonly Continuation[]): Promise<Score[]> {
  const window = model.dims.context;
  items.forEach((item, i) => checkContinuation(item, window, `item ${i}`));
  const scores: Score[] = [];
  for (let from = 0; from < items.length;) {
    let to = from;
    for (let tokens = 0; to < items.length; to += 1) {
      const item = items[to] as Continuation;
      tokens += item.prompt.length + item.target.length - 1;
      if (tokens > BATCH_TOKENS && to > from) break;
    }
    scores.push(...(await scoreBatch(model, items.slice(from, to))));
    from = to;
  }
  return scores;
}

/** A token whose logits are wanted, and the targets that are looked up there. */
interface Place {
  readonly row: number;
  readonly position: number;
}

async function scoreBatch(model: Model, items: readonly Continuation[]): Promise<Score[]> {
  const rows: number[][] = [];
  const limit: number[] = []; // logits are read from here on: these tokens cannot be left to the first pass
  const places: Place[] = [];
  const rowOf = new Map<string, number>();
  const placeOf = new Map<string, number>();
  const looked: { place: number; target: number }[] = [];
  for (const { prompt, target } of items) {
    const ids = [...prompt, ...target.slice(0, -1)];
    const key = ids.join();
    const row = rowOf.get(key) ?? rows.push(ids) - 1;
    rowOf.set(key, row);
    limit[row] = Math.min(limit[row] ?? Infinity, prompt.length - 1);
    target.forEach((id, t) => {
      const position = prompt.length - 1 + t;
      const at = `${row} ${position}`;
      const place = placeOf.get(at) ?? places.push({ row, position }) - 1;
      placeOf.set(at, place);
      looked.push({ place, target: id });
    });
  }
  const { nll, first } = await runPlaces(model, rows, limit, places, looked);
  let at = 0;
  return items.map(({ target }) => {
    const mine = looked.slice(at, at + target.length);
    const sum = nll.subarray(at, at + target.length).reduce((total, x) => total + x, 0);
    at += target.length;
    const predicted = mine.map(({ place }) => first[place] ?? -1);
    const hits = target.filter((id, t) => predicted[t] === id).length;
    return { nll: sum / target.length, predicted, hits };
  });
}

/**
 * nll of every look-up, and the first choice at every place.
 *
 * @param limit of each row: logits are read from here on
 */
async function runPlaces(
  model: Model,
  rows: readonly (readonly number[])[],
  limit: readonly number[],
  places: readonly Place[],
  looked: readonly { readonly place: number; readonly target: number }[],
): Promise<{ nll: Float64Array; first: Uint32Array }> {
  const { gpu } = model;
  const nll = new Float64Array(looked.length);
  const first = new Uint32Array(places.length);
  await gpu.scope(async (s) => {
    // The residual stream after the last block, of all tokens that no beginning covers.
    const { prefixes, from: starts, cacheStart } = sharePrefixes(rows, limit);
    const cache = prefixCache(s, model, prefixes);
    const batch = packRows(rows, { from: starts, cacheStart });
    const x = model.forward(s, uploadBatch(s, batch), { cache });
    const tokens = places.map(
      ({ row, position }) => (batch.rowStarts[row] ?? 0) + position - (starts[row] ?? 0),
    );
    const most = Math.max(1, Math.floor(LOGIT_BYTES / (4 * model.dims.V)));
    for (let from = 0; from < places.length; from += most) {
      const to = Math.min(places.length, from + most);
      const mine = looked.flatMap(({ place, target }, i) =>
        place >= from && place < to ? [{ i, row: place - from, target }] : [],
      );
      await gpu.scope(async (inner) => {
        const logits = model.logits(inner, x, indices(inner, tokens.slice(from, to), 'places'));
        const lse = logsumexp(inner, logits);
        const list = (of: 'row' | 'target'): Tensor =>
          indices(
            inner,
            mine.map((one) => one[of]),
            `${of}s`,
          );
        const losses = nllAt(inner, logits, list('row'), list('target'), lse);
        const best = argmaxRows(inner, logits);
        (await read(gpu, losses)).forEach((loss, m) => (nll[mine[m]?.i ?? 0] = loss));
        first.set(await readU32(gpu, best), from);
      });
    }
  });
  return { nll, first };
}
