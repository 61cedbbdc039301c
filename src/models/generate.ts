/**
 * Text from the model: all prompts at once, with a cache of keys and values, sampled with a seed.
 *
 * What all prompts begin with is computed once, and the rest of them packed; then each step runs one token a row and
 * reads the others from the cache. Greedy tokens are picked on the device, which goes on with the next step at once:
 * their ids come back while it computes.
 */
import { ModelError, UsageError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { plural } from '../numerals.ts';
import { type Tensor, indices, read, readU32 } from '../tensor/tensor.ts';
import type { Hook } from './architecture.ts';
import { packRows, uploadBatch } from './batch.ts';
import { NO_ID, argmaxRows } from './losses.ts';
import type { Model } from './model.ts';
import { PrefixCache } from './prefix-cache.ts';
import { Random, sampleTopK } from './random.ts';

export interface GenerateOptions {
  /** Tokens to add to each prompt. */
  readonly tokens: number;
  /** 1 is greedy. */
  readonly topK: number;
  readonly seed: number;
  /** Ids that end a row early, itself included in the result. Default none. */
  readonly stop?: readonly number[] | undefined;
  readonly onToken?: (row: number, id: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The ids that follow each prompt. Row b draws from stream b of the seed, so it does not depend on its neighbours.
 *
 * @throws UsageError when a prompt is empty, or prompt and new tokens exceed the context window
 */
export async function generate(
  model: Model,
  prompts: readonly number[][],
  options: GenerateOptions,
): Promise<number[][]> {
  const { context, contextIs = 'the context window', V } = model.dims;
  prompts.forEach((ids, b) => {
    const length = ids.length + options.tokens;
    if (ids.length === 0)
      throw new UsageError(`generate: prompt ${b} is empty. Give at least one token, e.g. <|endoftext|>.`);
    if (length > context) {
      throw new UsageError(
        `generate: prompt ${b} has ${plural(ids.length, 'token')} and ${options.tokens} more are wanted; ${contextIs} holds ${context}. Shorten one of them.`,
      );
    }
  });
  const capacity = Math.max(...prompts.map((ids) => ids.length)) + options.tokens;
  const randoms = prompts.map((_, b) => new Random(options.seed, b));
  const rows = prompts.map((ids) => [...ids]);
  const done = prompts.map(() => false);
  /** Puts the ids of a step in their places; what follows the end of a row is dropped. */
  const accept = (step: number, ids: ArrayLike<number>): void =>
    rows.forEach((row, b) => {
      if (done[b]) return;
      const id = ids[b] ?? NO_ID;
      if (id === NO_ID)
        throw new ModelError(
          `sampling: expected finite logits, found others in row ${b}. The model or its weights are damaged.`,
        );
      row[(prompts[b]?.length ?? 0) + step] = id;
      options.onToken?.(b, id);
      done[b] = options.stop?.includes(id) ?? false;
    });

  /** Ids drawn here from the logits [B, V]. */
  const sampled = (logits: Tensor): Pick<Picked, 'ids'> => ({
    ids: read(model.gpu, logits).then((all) =>
      randoms.map((random, b) =>
        done[b] ? 0 : sampleTopK(all.subarray(b * V, (b + 1) * V), options.topK, random),
      ),
    ),
  });

  await model.gpu.scope(async (s) => {
    const cache = PrefixCache.withRoom(s, model.architecture, prompts.length * capacity);
    const shared = sharedLength(prompts);
    if (shared > 0) shareBeginning(model, prompts, shared, cache, capacity);
    let cached = prompts.map(() => shared);
    let last: Picked | undefined;
    for (let step = 0; step < options.tokens && done.includes(false); step += 1) {
      options.signal?.throwIfAborted();
      const before = last?.picked;
      const next: Picked = model.gpu.record((inner) => {
        const logits = forward(inner, model, { rows, cached, cache, capacity, picked: before });
        if (before) s.release(before);
        return { step, ...(options.topK === 1 ? greedy(inner, logits, s) : sampled(logits)) };
      });
      cached = rows.map((ids) => ids.length);
      for (const ids of rows) ids.push(0); // until its id is known
      // The device has the next step by now, so nothing waits for the ids of this one.
      if (last) accept(last.step, await last.ids);
      last = next;
      if (!next.picked) {
        accept(step, await next.ids);
        last = undefined;
      }
    }
    if (last) accept(last.step, await last.ids);
  });
  return rows.map((ids, b) => {
    const added = ids.slice(prompts[b]?.length);
    const end = added.findIndex((id) => options.stop?.includes(id));
    return end < 0 ? added : added.slice(0, end + 1);
  });
}

/** How many tokens all prompts begin with; the last token of each is left out, since its logits are read. */
function sharedLength(prompts: readonly number[][]): number {
  const [first = [], ...others] = prompts;
  if (others.length === 0) return 0;
  const most = Math.min(...prompts.map((ids) => ids.length - 1));
  let n = 0;
  while (n < most && others.every((ids) => ids[n] === first[n])) n += 1;
  return n;
}

/** Computes the first `length` tokens of all prompts once, and puts their keys and values where each row looks for them. */
function shareBeginning(
  model: Model,
  prompts: readonly number[][],
  length: number,
  cache: PrefixCache,
  capacity: number,
): void {
  model.gpu.record((s) => {
    const batch = uploadBatch(s, packRows([(prompts[0] ?? []).slice(0, length)]));
    const copies = prompts.map((_, b) => {
      const slots = Array.from({ length }, (__, t) => b * capacity + t);
      return cache.append(s, slots);
    });
    const qkv: Hook = (inner, layer, t) => {
      for (const copy of copies) copy(inner, layer, t);
      return undefined;
    };
    model.forward(s, batch, { stop: 'qkv', hooks: { qkv } });
  });
}

/** The tokens of a step, one a row. */
interface Picked {
  readonly step: number;
  readonly ids: Promise<ArrayLike<number>>;
  /** u32 [B] the same on the device, if they were picked there. */
  readonly picked?: Tensor | undefined;
}

/** The likeliest ids, kept in `owner` for the next step, and on their way here. */
function greedy(s: Scope, logits: Tensor, owner: Scope): Omit<Picked, 'step'> {
  const picked = s.keep(argmaxRows(s, logits), owner);
  const ids = readU32(s.gpu, picked);
  ids.catch(() => undefined); // rethrown where it is awaited, if the next step does not fail before
  return { ids, picked };
}

interface Step {
  readonly rows: readonly number[][];
  /** [B] tokens of each row that the cache has. */
  readonly cached: readonly number[];
  readonly cache: PrefixCache;
  readonly capacity: number;
  /** u32 [B] the last id of every row, where `rows` does not know it yet. */
  readonly picked: Tensor | undefined;
}

/** Runs what is not cached yet, appends it to the cache, and gives the logits [B, V] after the last token of each row. */
function forward(s: Scope, model: Model, { rows, cached, cache, capacity, picked }: Step): Tensor {
  const first = cached.every((count) => count === 0);
  const batch = packRows(rows, { from: cached, cacheStart: rows.map((_, b) => b * capacity) });
  const slots = rows.flatMap((ids, b) =>
    ids.slice(cached[b]).map((_, i) => b * capacity + (cached[b] ?? 0) + i),
  );
  const uploaded = uploadBatch(s, batch);
  const x = model.forward(s, picked ? { ...uploaded, ids: picked } : uploaded, {
    cache: first ? undefined : cache,
    hooks: { qkv: cache.append(s, slots) },
  });
  const lasts = [...batch.rowStarts.subarray(1)].map((end) => end - 1);
  // One token a row, as in every step but the first: x is those rows already.
  const all = lasts.length === x.rows;
  return model.logits(s, x, all ? undefined : indices(s, lasts, 'last_tokens'));
}
