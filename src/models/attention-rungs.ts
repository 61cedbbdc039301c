/** The ladders of attention and of its two gradients. */
import type { AdapterSummary } from '../gpu/adapter-info.ts';
import type { Rung } from '../gpu/rung.ts';
import type { HeadLayout } from './heads.ts';

export interface AttentionShape {
  readonly tokens: number;
  readonly heads: HeadLayout;
  /** Some span has a prefix; where it lies. */
  readonly cached: boolean;
  readonly cacheStride: number;
  readonly cacheKeys: number;
  /** Runs of tokens of one row that are taken together, and the most tokens of one. */
  readonly tiles: number;
  readonly tileSize: number;
}

export interface AttentionRung extends Rung<AttentionShape> {
  /** The most tokens of a run; absent: it reads no tiles. */
  readonly tile?: number;
}

const inQuads = ({ heads: { S, stride, q, k, v }, cacheStride, cacheKeys }: AttentionShape): boolean =>
  [S, stride, q, k, v, cacheStride, cacheKeys].every((n) => n % 4 === 0);

/** What rungs of one subgroup a group need: software adapters, where workgroup memory and barriers are dear. */
const inSubgroups = (shape: AttentionShape, { kind, subgroupSize }: AdapterSummary): boolean =>
  kind === 'software' && subgroupSize >= 4 && inQuads(shape);

/** Workgroups of one subgroup each: lanes stand for two columns of four numbers. */
const subgroups = (runs: number, heads: number, S: number, lanes: number) => ({
  groups: [runs, heads, Math.ceil(S / (8 * lanes))] as const,
});

const lanesAndPrefix = ({ cached, heads: { S } }: AttentionShape, { subgroupSize }: AdapterSummary) => ({
  LANES: subgroupSize,
  PREFIX: cached ? 1 : 0,
  COLUMNS: S <= 4 * subgroupSize ? 1 : 2,
});

/** A workgroup for each token and head: threads along the keys, or the queries, then along the columns. For GPUs. */
const aGroupEach: Omit<AttentionRung, 'kernel'> = {
  fits: (shape) => shape.heads.S <= 256 && inQuads(shape),
  suits: ({ tileSize, heads }, { kind }) => kind === 'gpu' && (tileSize <= 8 || heads.S > 64),
  grid: ({ tokens, heads }) => ({ groups: [tokens, heads.H] }),
};

/**
 * GFLOP/s as measured on lavapipe, H = 12, S = 64: suffixes of 2 tokens, whole rows of 256, one token after 1000.
 * Tiles come with the batch, so at most one rung fits besides the definition.
 */
export const ATTENTION: readonly AttentionRung[] = [
  // A subgroup for eight queries: 1.4, 22, 2.0.
  {
    kernel: 'software/attention_eights',
    tile: 8,
    fits: (shape, adapter) => inSubgroups(shape, adapter) && shape.tileSize <= 8,
    suits: ({ tileSize }) => tileSize > 2,
    grid: ({ tiles, heads: { H, S } }, { subgroupSize }) => subgroups(tiles, H, S, subgroupSize),
    overrides: lanesAndPrefix,
  },
  // A group for each query, where too few follow each other for a tile.
  { kernel: 'models/attention_keys', ...aGroupEach },
  // A subgroup for two queries: 2.5, 7.3, 2.7.
  {
    kernel: 'software/attention_pairs',
    tile: 2,
    fits: (shape, adapter) => inSubgroups(shape, adapter) && shape.tileSize <= 2,
    grid: ({ tiles, heads: { H, S } }, { subgroupSize }) => subgroups(tiles, H, S, subgroupSize),
    overrides: lanesAndPrefix,
  },
  // A thread for each query, keys and values in workgroup memory: for GPUs.
  {
    kernel: 'models/attention_workgroup',
    tile: 64,
    fits: (shape) => shape.tileSize <= 64 && shape.heads.S <= 64 && inQuads(shape),
    suits: ({ tileSize }) => tileSize > 8,
    grid: ({ tiles, heads }) => ({ groups: [tiles, heads.H] }),
  },
  // The definition, a thread for each query and head: 1.1, 1.1, 0.4.
  {
    kernel: 'models/attention_1',
    fits: () => true,
    grid: ({ tokens, heads }) => ({ threads: tokens * heads.H }),
  },
];

/**
 * Tokens that attention takes together: long runs share loads, but one that is mostly empty computes for nothing. For the
 * rows of an edit, 1 to 8 tokens after 13 in a cache, runs of 2 take lavapipe half the time of runs of 8.
 *
 * @param row length of the row that a token is in, on average
 */
export function tileSizeFor(row: number, { kind }: AdapterSummary): number {
  if (kind === 'gpu') return row >= 16 ? 64 : 2;
  return row > 8 ? 8 : 2;
}

/** dq and δ. */
export const ATTENTION_BACKWARD_Q: readonly AttentionRung[] = [
  { kernel: 'models/attention_backward_q_keys', ...aGroupEach, suits: (_, { kind }) => kind === 'gpu' },
  // A subgroup for two queries.
  {
    kernel: 'software/attention_backward_q_pairs',
    fits: inSubgroups,
    grid: ({ tokens, heads: { H, S } }, { subgroupSize }) => subgroups(tokens, H, S, subgroupSize),
    overrides: lanesAndPrefix,
  },
  {
    kernel: 'models/attention_backward_q_1',
    fits: () => true,
    grid: ({ tokens, heads }) => ({ threads: tokens * heads.H }),
  },
];

/** dk and dv. */
export const ATTENTION_BACKWARD_KV: readonly AttentionRung[] = [
  {
    kernel: 'models/attention_backward_kv_queries',
    fits: aGroupEach.fits,
    suits: (_, { kind }) => kind === 'gpu',
    grid: ({ tokens, heads }) => ({ groups: [tokens, heads.KV] }),
  },
  // A subgroup for each key and head of keys. Lanes run along the queries that see it: where those are few, most would idle.
  {
    kernel: 'software/attention_backward_kv_subgroup',
    fits: inSubgroups,
    suits: ({ tileSize }) => tileSize > 2,
    grid: ({ tokens, heads: { KV, S } }, { subgroupSize }) => subgroups(tokens, KV, S, subgroupSize),
    overrides: ({ heads: { H, KV } }, { subgroupSize }) => ({ LANES: subgroupSize, GROUP: H / KV }),
  },
  {
    kernel: 'models/attention_backward_kv_1',
    fits: () => true,
    grid: ({ tokens, heads }) => ({ threads: tokens * heads.KV }),
  },
];
