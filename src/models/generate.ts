/**
 * Text from the model: all prompts at once, with a cache of keys and values, sampled with a seed.
 *
 * What all prompts begin with is computed once, and the rest of them packed; then each step runs one token a row and
 * reads the others from the cache.
 */
import { UsageError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty, read, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { packRows, uploadBatch } from './batch.ts';
import type { LayerCache } from './attention.ts';
import type { Model, Sites } from './model.ts';
import { Random, sampleTopK } from './random.ts';

export interface GenerateOptions {
  /** Tokens to add to each prompt. */
  readonly tokens: number;
  /** 1 is greedy. */
  readonly topK: number;
  readonly seed: number;
  /** Ids that end a row early, itself included in the result. Default none. */
  readonly stop?: readonly number[];
  readonly onToken?: (row: number, id: number) => void;
  readonly signal?: AbortSignal;
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
  const { n_positions, n_layer, n_embd: D } = model.config;
  prompts.forEach((ids, b) => {
    const length = ids.length + options.tokens;
    if (ids.length === 0)
      throw new UsageError(`generate: prompt ${b} is empty. Give at least one token, e.g. <|endoftext|>.`);
    if (length > n_positions) {
      throw new UsageError(
        `generate: prompt ${b} has ${ids.length} tokens and ${options.tokens} are wanted; the context window holds ${n_positions}. Shorten one of them.`,
      );
    }
  });
  const capacity = Math.max(...prompts.map((ids) => ids.length)) + options.tokens;
  const randoms = prompts.map((_, b) => new Random(options.seed, b));
  const rows = prompts.map((ids) => [...ids]);
  const done = prompts.map(() => false);

  await model.gpu.scope(async (s) => {
    const caches = Array.from({ length: n_layer }, (_, i): LayerCache => ({
      rows: empty(s, [prompts.length * capacity, 2 * D], `cache.${i}`),
      stride: 2 * D,
      keys: 0,
    }));
    const shared = sharedLength(prompts);
    if (shared > 0) shareBeginning(model, prompts, shared, caches, capacity);
    let cached = prompts.map(() => shared);
    for (let step = 0; step < options.tokens && done.includes(false); step += 1) {
      options.signal?.throwIfAborted();
      const logits = await forward(model, rows, cached, caches, capacity);
      cached = rows.map((ids) => ids.length);
      rows.forEach((ids, b) => {
        if (done[b]) {
          ids.push(0); // keeps the rows in step; dropped below
          return;
        }
        const V = model.config.vocab_size;
        const id = sampleTopK(logits.subarray(b * V, (b + 1) * V), options.topK, randoms[b] as Random);
        ids.push(id);
        options.onToken?.(b, id);
        done[b] = options.stop?.includes(id) ?? false;
      });
    }
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
  caches: readonly LayerCache[],
  capacity: number,
): void {
  const s = model.gpu.open();
  try {
    const { n_layer } = model.config;
    const device = uploadBatch(s, packRows([(prompts[0] ?? []).slice(0, length)]));
    const places = prompts.map((_, b) => {
      const slots = Uint32Array.from({ length }, (_, t) => b * capacity + t);
      return upload(s, slots, [length], 'cache_slots');
    });
    model.blocks(s, model.embed(s, device), device, 0, n_layer, {
      qkv: (inner, i, qkv) => {
        for (const slots of places) appendToCache(inner, qkv, slots, caches[i] as LayerCache);
        return i === n_layer - 1; // of the last block only keys and values are read
      },
    });
  } finally {
    s.close();
  }
}

/** Runs what is not cached yet, appends it to the cache, and gives the logits [B, V] after the last token of each row. */
async function forward(
  model: Model,
  rows: readonly number[][],
  cached: readonly number[],
  caches: readonly LayerCache[],
  capacity: number,
): Promise<Float32Array<ArrayBuffer>> {
  return model.gpu.scope(async (s) => {
    const first = cached.every((count) => count === 0);
    const batch = packRows(rows, { from: cached, cacheStart: rows.map((_, b) => b * capacity) });
    const device = uploadBatch(s, batch);
    const slots = rows.flatMap((ids, b) =>
      ids.slice(cached[b]).map((_, i) => b * capacity + (cached[b] ?? 0) + i),
    );
    const places = upload(s, Uint32Array.from(slots), [slots.length], 'cache_slots');
    const sites: Sites = {
      qkv: (inner, i, qkv) => {
        appendToCache(inner, qkv, places, caches[i] as LayerCache);
        return false;
      },
    };
    const x = model.blocks(
      s,
      model.embed(s, device),
      device,
      0,
      model.config.n_layer,
      sites,
      first ? undefined : (i) => caches[i],
    );
    const lasts = [...batch.rowStarts.subarray(1)].map((end) => end - 1);
    const logits = model.logits(
      s,
      x as Tensor,
      upload(s, Uint32Array.from(lasts), [lasts.length], 'last_tokens'),
    );
    return read(model.gpu, logits);
  });
}

/** Copies the keys and values of a batch's tokens to their rows of the cache. */
function appendToCache(s: Scope, qkv: Tensor, places: Tensor, cache: LayerCache): void {
  const [tokens, d] = [qkv.rows, qkv.cols / 3];
  s.gpu.run(
    'models/append_cache',
    { qkv, places, cache: cache.rows },
    { tokens, d },
    { threads: tokens * 2 * d },
  );
}

/** The next token after a text: logits [V] as float32. */
export async function nextLogits(
  model: Model,
  prompts: readonly number[][],
): Promise<Float32Array<ArrayBuffer>[]> {
  return model.gpu.scope(async (s) => {
    const batch = packRows(prompts);
    const device = uploadBatch(s, batch);
    const x = model.blocks(s, model.embed(s, device), device, 0, model.config.n_layer);
    const lasts = [...batch.rowStarts.subarray(1)].map((end) => end - 1);
    const all = await read(
      model.gpu,
      model.logits(s, x as Tensor, upload(s, Uint32Array.from(lasts), [lasts.length], 'last_tokens')),
    );
    const V = model.config.vocab_size;
    return prompts.map((_, b) => all.subarray(b * V, (b + 1) * V));
  });
}
