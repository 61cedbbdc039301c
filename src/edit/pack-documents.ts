/** Documents into batches of tokens: cut to the context window, laid one after another, never padded, never split. */
import type { Gpu } from '../gpu/context.ts';
import type { Dimensions } from '../models/architecture.ts';

/** A document and the place behind it, in whatever terms the corpus counts places. */
export interface Placed<P> {
  readonly text: string;
  /** Its number in the corpus, from 0. */
  readonly index: number;
  readonly next: P;
}

export interface DocumentBatch<P> {
  /** Token ids of each document. */
  readonly rows: readonly (readonly number[])[];
  readonly tokens: number;
  /** Documents of this batch that were cut to the context window. */
  readonly cut: number;
  /** The place behind the last document. */
  readonly next: P;
}

export interface PackOptions {
  readonly encode: (text: string, limit: number) => readonly number[];
  /** Longest document in tokens; the rest of a longer one is left out, as the published code does. */
  readonly contextLength: number;
  /** Tokens a batch holds at most; a longer document has one to itself. */
  readonly batchTokens: number;
  /** Tokens wanted in all; the last document is cut so that it comes out even. */
  readonly limit?: number | undefined;
  /** Takes the documents whose number is `index` modulo `of`. */
  readonly shard?: { readonly index: number; readonly of: number } | undefined;
}

/**
 * Batches that depend on the documents alone, not on where an earlier run stopped: going on from the place behind a
 * batch gives the batches that an unbroken run would have given, and so the same sums to the last bit.
 */
export async function* packDocuments<P>(
  documents: AsyncIterable<Placed<P>>,
  { encode, contextLength, batchTokens, limit = Infinity, shard }: PackOptions,
): AsyncGenerator<DocumentBatch<P>, void, void> {
  let rows: (readonly number[])[] = [];
  let [tokens, cut, done] = [0, 0, 0];
  let last: P | undefined;
  const take = (next: P): DocumentBatch<P> => {
    const batch = { rows, tokens, cut, next };
    done += tokens;
    [rows, tokens, cut] = [[], 0, 0];
    return batch;
  };
  if (limit <= 0) return;
  for await (const { text, index, next } of documents) {
    if (!shard || index % shard.of === shard.index) {
      // One token more than the window holds tells a document that is cut from one that just fits.
      const found = encode(text, contextLength + 1);
      const length = Math.min(contextLength, found.length);
      if (tokens > 0 && tokens + length > batchTokens) yield take(last as P);
      const ids = found.slice(0, Math.min(length, limit - done - tokens));
      rows.push(ids);
      tokens += ids.length;
      if (ids.length < found.length) cut += 1;
    }
    last = next;
    if (done + tokens >= limit) break;
  }
  if (tokens > 0) yield take(last as P);
}

/**
 * Work of one batch, by kind of adapter: the watchdog of a GPU ends what takes seconds, and on a software adapter
 * Ctrl-C waits for the batch at work.
 */
const BATCH_FLOPS = { gpu: 1e12, software: 5e10 };
const MOST_TOKENS = 4096;
/** Below this, matrix products lose speed. */
const FEWEST_TOKENS = 256;

/**
 * Tokens of one batch: enough to keep the adapter busy, few enough that each activation fits one binding.
 *
 * @param last the layer at whose key the forward pass ends
 */
export function batchTokens(gpu: Gpu, { F, D, H, KV, S }: Dimensions, last: number): number {
  // A gated MLP makes two of F side by side.
  const byMemory = gpu.maxBindingBytes / (4 * Math.max(2 * F, (H + 2 * KV) * S));
  const byWork = BATCH_FLOPS[gpu.adapter.kind] / ((last + 1) * (8 * D * D + 4 * D * F) + F * F);
  return Math.max(FEWEST_TOKENS, Math.floor(Math.min(MOST_TOKENS, byMemory, byWork)));
}
