/**
 * How many requests search their values together. More rows fill the kernels better, up to some hundreds or until memory
 * ends: every step keeps what each block computed for its way back, so a request costs a few megabytes in a small model
 * and hundreds in a large one.
 */
import type { Dimensions } from '../models/architecture.ts';
import type { Gpu } from '../gpu/context.ts';
import type { EditRows } from './rows.ts';

/** What a batch of requests may take where nothing else is said: 1 GiB. */
const VALUE_MEMORY_BYTES = 2 ** 30;
/**
 * Tokens of a step that are enough. Beyond them products are no faster, and what a step keeps no longer fits the pool's
 * idle buffers: of 60 requests at once lavapipe spends 6 % more time than of 20, and three times as much of it in the kernel.
 */
const ENOUGH_TOKENS = 512;

/** What requests take on the GPU while their values are searched for, in bytes. */
interface Need {
  /** In all. */
  total: number;
  /** The largest tensors, each of which one binding must hold. */
  logits: number;
  states: number;
  /** Tokens of a step. */
  tokens: number;
}

/**
 * Batches of requests, in their order, that stay below `memory` bytes, what one binding takes and enough tokens; a request
 * that does not is a batch of its own.
 *
 * @returns indices of requests
 */
export function valueBatches(
  gpu: Pick<Gpu, 'maxBindingBytes'>,
  dims: Dimensions,
  layer: number,
  requests: readonly EditRows[],
  memory = VALUE_MEMORY_BYTES,
): number[][] {
  const batches: number[][] = [];
  let sum: Need = { total: Infinity, logits: 0, states: 0, tokens: 0 };
  for (const [i, rows] of requests.entries()) {
    const need = needOf(dims, layer, rows);
    const fits =
      sum.total + need.total <= memory &&
      sum.tokens + need.tokens <= ENOUGH_TOKENS &&
      Math.max(sum.logits + need.logits, sum.states + need.states) <= gpu.maxBindingBytes;
    if (!fits) {
      batches.push([]);
      sum = { total: 0, logits: 0, states: 0, tokens: 0 };
    }
    batches.at(-1)?.push(i);
    for (const part of Object.keys(sum) as (keyof Need)[]) sum[part] += need[part];
  }
  return batches;
}

function needOf({ D, F, V, H, KV, S, layers }: Dimensions, layer: number, rows: EditRows): Need {
  const all = [
    ...rows.rewrites,
    { ids: rows.klRow.ids.slice(0, rows.klRow.lookup + 1), lookup: rows.klRow.lookup },
  ];
  const tokens = all.reduce((sum, { ids }) => sum + ids.length, 0);
  const before = all.reduce((sum, { lookup }) => sum + lookup, 0);
  const read = rows.rewrites.length * rows.targetIds.length + 1;
  const qkv = (H + 2 * KV) * S;
  const above = layers - layer - 1;
  // Of each token and block: two norms, q k v, attention, two sums, the MLP before and after its GELU; and their gradients.
  const block = 2 * (6 * D + qkv + 2 * F);
  const logits = 4 * read * V;
  const states = 4 * tokens * Math.max(F, qkv);
  const steps = 4 * (tokens - before) * above * block + 4 * before * above * qkv;
  const total = steps + 2 * logits + 4 * V + 2 * states + 4 * tokens * D;
  return { total, logits, states, tokens: tokens - before };
}
