/**
 * What one forward pass computes: rows of tokens of any lengths, laid one after another without padding, and for
 * each token which earlier ones it sees. Tokens whose keys and values are already in a cache are left out.
 */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, upload } from '../tensor/tensor.ts';
import { tileSizeFor } from './attention-rungs.ts';

export interface Batch {
  /** [T] token ids. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** [T] places in their rows, counted from 0 and including cached tokens. */
  readonly positions: Uint32Array<ArrayBuffer>;
  /** [T, 4] prefix_start, prefix_count (rows of the cache), self_start, self_count (rows of this batch, the token itself last). */
  readonly spans: Uint32Array<ArrayBuffer>;
  /** [T, 2] first, count: the tokens of this batch that see this token; the first is the token itself. */
  readonly followers: Uint32Array<ArrayBuffer>;
  /** [B + 1] where each row begins in this batch, and T. */
  readonly rowStarts: Uint32Array<ArrayBuffer>;
}

/** The prefixes that are not computed again. */
export interface Cached {
  /** [B] row b's tokens 0 up to from[b] are cached. */
  readonly from: readonly number[];
  /** [B] the cache's row that holds row b's first token; absent: the cache holds the prefixes and nothing else, in order. */
  readonly cacheStart?: readonly number[];
}

/**
 * @param rows   token ids of whole rows, cached prefixes included; a row may be empty, or all cached
 * @param cached absent: all tokens are computed
 * @throws ShapeError when no token is left to compute, or the prefixes do not fit the rows
 */
export function packRows(rows: readonly (readonly number[])[], cached?: Cached): Batch {
  const from = cached?.from ?? rows.map(() => 0);
  const cacheStart = cached?.cacheStart ?? startsOf(from);
  if (from.length !== rows.length || cacheStart.length < rows.length)
    throw new ShapeError(
      `packRows: ${rows.length} rows, but ${from.length} prefixes and ${cacheStart.length} cache starts.`,
    );
  const prefixes = rows.map((row, b) => checkedPrefix(row.length, b, from));
  const starts = startsOf(rows.map((row, b) => row.length - (prefixes[b] ?? 0)));
  const T = starts.at(-1) ?? 0;
  if (T === 0) throw new ShapeError(`packRows: no token is left to compute in ${rows.length} rows.`);

  const ids = new Uint32Array(T);
  const positions = new Uint32Array(T);
  const spans = new Uint32Array(4 * T);
  const followers = new Uint32Array(2 * T);
  rows.forEach((row, b) => {
    const [prefix, start] = [prefixes[b] ?? 0, starts[b] ?? 0];
    const count = row.length - prefix;
    ids.set(row.slice(prefix), start);
    for (let j = 0; j < count; j += 1) {
      positions[start + j] = prefix + j;
      spans.set([prefix > 0 ? (cacheStart[b] ?? 0) : 0, prefix, start, j + 1], 4 * (start + j));
      followers.set([start + j, count - j], 2 * (start + j));
    }
  });
  return { ids, positions, spans, followers, rowStarts: Uint32Array.from(starts) };
}

/** A batch on the device. */
export interface GpuBatch {
  /** T */
  readonly tokens: number;
  readonly ids: Tensor;
  readonly positions: Tensor;
  readonly spans: Tensor;
  readonly followers: Tensor;
  /** u32 [N, 2] first, count: runs of at most `tileSize` tokens of one row, which attention takes together. */
  readonly tiles: Tensor;
  readonly tileSize: number;
  /** Pairs of a token and a key that it sees: attention's work. */
  readonly keysSeen: number;
}

/** @param tileSize 2, 8 or 64; the default suits the adapter and the length of the rows */
export function uploadBatch(
  s: Scope,
  batch: Batch,
  tileSize = tileSizeFor(usualRow(batch), s.gpu.adapter),
): GpuBatch {
  const tokens = batch.ids.length;
  const tiles = tilesOf(batch.rowStarts, tileSize);
  const keysSeen = batch.spans.reduce((sum, n, i) => sum + (i % 2 === 1 ? n : 0), 0); // the counts
  return {
    tokens,
    keysSeen,
    tileSize,
    tiles: upload(s, tiles, [tiles.length / 2, 2], 'tiles'),
    ids: upload(s, batch.ids, [tokens], 'ids'),
    positions: upload(s, batch.positions, [tokens], 'positions'),
    spans: upload(s, batch.spans, [tokens, 4], 'spans'),
    followers: upload(s, batch.followers, [tokens, 2], 'followers'),
  };
}

/** Mean over tokens of the length of their row: Σ length² / Σ length. */
function usualRow({ ids, rowStarts }: Batch): number {
  return rowStarts.reduce((sum, end, b) => sum + (end - (rowStarts[b - 1] ?? 0)) ** 2, 0) / ids.length;
}

/** Cuts rows into runs of at most `size` tokens: first, count of each. */
export function tilesOf(rowStarts: Uint32Array, size: number): Uint32Array<ArrayBuffer> {
  const tiles: number[] = [];
  rowStarts.forEach((end, b) => {
    const start = rowStarts[b - 1] ?? 0;
    for (let first = start; first < end; first += size) tiles.push(first, Math.min(size, end - first));
  });
  return Uint32Array.from(tiles);
}

function checkedPrefix(length: number, b: number, from: readonly number[]): number {
  const prefix = from[b] ?? 0;
  if (prefix < 0 || prefix > length)
    throw new ShapeError(`packRows: row ${b} has ${length} tokens; ${prefix} of them cannot be cached.`);
  return prefix;
}

/** 0, and the sum of every number up to and including the i-th. */
export function startsOf(lengths: readonly number[]): number[] {
  const starts = [0];
  let sum = 0;
  for (const length of lengths) starts.push((sum += length));
  return starts;
}
