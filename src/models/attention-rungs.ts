/** Which attention kernels suit an adapter and a batch, and how they are dispatched. All compute the same. */
import type { AdapterSummary, Grid } from '../gpu/context.ts';

export interface AttentionRung {
  readonly kernel: string;
  /** Tokens that one workgroup takes together; 0: it reads no tiles. */
  readonly tile: number;
  /** Every workgroup is one subgroup, whose size must be known. */
  readonly subgroups: boolean;
  /** The widest head. Widths must be multiples of 4, but for the definition. */
  readonly widest: number;
}

/** Measured GFLOP/s on lavapipe, H = 12, S = 64: suffixes of 2 tokens, whole rows of 256, one token after 1000. */
export const ATTENTION_RUNGS = {
  definition: { kernel: 'models/attention_1', tile: 0, subgroups: false, widest: Infinity }, // 1.1, 1.1, 0.4
  pairs: { kernel: 'models/attention_2', tile: 2, subgroups: true, widest: Infinity }, // 2.5, 7.3, 2.7
  eights: { kernel: 'models/attention_3', tile: 8, subgroups: true, widest: Infinity }, // 1.4, 22, 2.0
  workgroup: { kernel: 'models/attention_4', tile: 64, subgroups: false, widest: 64 }, // for GPUs
} as const satisfies Record<string, AttentionRung>;

/** What the choice depends on besides the adapter. */
export interface AttentionShape {
  readonly m: number;
  readonly heads: number;
  /** S */
  readonly s: number;
  readonly cache_stride: number;
  readonly cache_k: number;
}

/** The rung that takes tiles of this size, else the definition. */
export function chooseAttention(
  tileSize: number,
  shape: AttentionShape,
  adapter: AdapterSummary,
): AttentionRung {
  const fours = [shape.s, shape.cache_stride, shape.cache_k].every((n) => n % 4 === 0);
  const fits = (rung: AttentionRung): boolean =>
    rung.tile === tileSize && shape.s <= rung.widest && (!rung.subgroups || adapter.subgroupSize >= 4);
  const found = Object.values<AttentionRung>(ATTENTION_RUNGS).find(fits);
  return fours && found ? found : ATTENTION_RUNGS.definition;
}

/** Rungs of the two backward kernels. */
export function chooseBackward(
  tileSize: number,
  shape: AttentionShape,
  adapter: AdapterSummary,
): { readonly q: 1 | 2; readonly kv: 1 | 2 } {
  const { pairs } = ATTENTION_RUNGS;
  if (!chooseAttention(pairs.tile, shape, adapter).subgroups) return { q: 1, kv: 1 };
  // Lanes run along the queries that see a key: where those are few, most lanes would idle.
  return { q: 2, kv: tileSize > pairs.tile ? 2 : 1 };
}

/** Workgroups for `items` tiles or tokens by heads; of one subgroup each, they also split the columns. */
export function attentionGrid(
  subgroups: boolean,
  items: number,
  { heads, s }: AttentionShape,
  adapter: AdapterSummary,
): Grid & { readonly overrides: Readonly<Record<string, number>> } {
  const lanes = adapter.subgroupSize;
  if (!subgroups || lanes === 0) return { groups: [items, heads], overrides: {} };
  return { groups: [items, heads, Math.ceil(s / (8 * lanes))], overrides: { LANES: lanes } };
}
