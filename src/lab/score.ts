/**
 * How likely a model finds given continuations, and what it would have said itself.
 *
 * All rows go packed into as few batches as memory allows; beginnings that rows share are computed once, and only the
 * tokens that predict a target get logits.
 */
import { UsageError } from '../errors.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import { argmaxRows, logsumexp, nll } from '../models/losses.ts';
import type { Model } from '../models/model.ts';
import { prefixCache } from '../models/prefix-cache.ts';
import { indices, read, readU32 } from '../tensor/tensor.ts';
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

/** A token whose logits are wanted, and what the model puts first after it. */
interface Place {
  readonly row: number;
  readonly position: number;
  first: number;
}

/** A target that is looked up at a place. */
interface Look {
  readonly place: Place;
  readonly target: number;
  nll: number;
}

async function scoreBatch(model: Model, items: readonly Continuation[]): Promise<Score[]> {
  const rows: number[][] = [];
  const limit: number[] = []; // logits are read from here on: these tokens cannot be left to the first pass
  const rowOf = new Map<string, number>();
  const places = new Map<string, Place>();
  const looked = items.map(({ prompt, target }) => {
    const ids = [...prompt, ...target.slice(0, -1)];
    const key = ids.join();
    const row = rowOf.get(key) ?? rows.push(ids) - 1;
    rowOf.set(key, row);
    limit[row] = Math.min(limit[row] ?? Infinity, prompt.length - 1);
    return target.map((id, t): Look => {
      const position = prompt.length - 1 + t;
      const at = `${row} ${position}`;
      const place = places.get(at) ?? { row, position, first: -1 };
      places.set(at, place);
      return { place, target: id, nll: NaN };
    });
  });
  await look(model, rows, limit, [...places.values()], looked.flat());
  return looked.map((list) => ({
    nll: list.reduce((sum, { nll }) => sum + nll, 0) / list.length,
    predicted: list.map(({ place }) => place.first),
    hits: list.filter(({ place, target }) => place.first === target).length,
  }));
}

/** Runs the rows, and fills in the first choice at every place and the nll of every target. */
async function look(
  model: Model,
  rows: readonly (readonly number[])[],
  limit: readonly number[],
  places: readonly Place[],
  looked: readonly Look[],
): Promise<void> {
  const { gpu } = model;
  await gpu.scope(async (s) => {
    const { prefixes, from: starts, cacheStart } = sharePrefixes(rows, limit);
    const cache = prefixCache(s, model, prefixes);
    const batch = packRows(rows, { from: starts, cacheStart });
    // The residual stream after the last block, of all tokens that no beginning covers.
    const x = model.forward(s, uploadBatch(s, batch), { cache });
    const tokenOf = ({ row, position }: Place): number =>
      (batch.rowStarts[row] ?? 0) + position - (starts[row] ?? 0);
    const most = Math.max(1, Math.floor(LOGIT_BYTES / (4 * model.dims.V)));
    for (let from = 0; from < places.length; from += most) {
      const some = places.slice(from, from + most);
      const indexOf = new Map(some.map((place, i) => [place, i]));
      const mine = looked.filter(({ place }) => indexOf.has(place));
      const lookedAt = mine.map(({ place }) => indexOf.get(place) ?? 0);
      const wanted = mine.map(({ target }) => target);
      await gpu.scope(async (inner) => {
        const logits = model.logits(inner, x, indices(inner, some.map(tokenOf), 'places'));
        const lse = logsumexp(inner, logits);
        const targets = indices(inner, wanted, 'targets');
        const losses = nll(inner, logits, indices(inner, lookedAt, 'rows'), targets, lse);
        const best = argmaxRows(inner, logits);
        (await read(gpu, losses)).forEach((loss, i) => ((mine[i] as Look).nll = loss));
        (await readU32(gpu, best)).forEach((id, i) => ((some[i] as Place).first = id));
      });
    }
  });
}
