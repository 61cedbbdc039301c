/** Where the heads of queries, keys and values lie in a row of `qkv`, as the weights of each family leave them. */
import { ShapeError } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Dimensions } from './architecture.ts';

/** Head h of q begins at column q + h · stride; the keys it reads at k + g · stride, g = ⌊h KV / H⌋; values likewise. */
export interface HeadLayout extends Pick<Dimensions, 'H' | 'KV' | 'S'> {
  /** Columns from a head to the next. */
  readonly stride: number;
  /** Columns where the first heads begin. */
  readonly q: number;
  readonly k: number;
  readonly v: number;
}

type Sizes = Pick<Dimensions, 'H' | 'KV' | 'S'>;

/** All heads of q, then those of k, then those of v: GPT-2, and q, k, v of products of their own side by side. */
export function headBlocks({ H, KV, S }: Sizes): HeadLayout {
  return { ...{ H, KV, S }, stride: S, q: 0, k: H * S, v: (H + KV) * S };
}

/** q, k and v of a head together, head after head: GPT-NeoX. */
export function headTriples({ H, S }: Pick<Sizes, 'H' | 'S'>): HeadLayout {
  return { ...{ H, KV: H, S }, stride: 3 * S, q: 0, k: S, v: 2 * S };
}

/** Columns of a row of qkv: (H + 2 KV) S. */
export function qkvWidth({ H, KV, S }: Sizes): number {
  return (H + 2 * KV) * S;
}

/** @throws ShapeError, naming `op`, when the heads cannot share keys evenly or qkv is not as wide as they are */
export function checkHeads(op: string, qkv: Tensor, layout: HeadLayout): void {
  const { H, KV, S } = layout;
  if (![H, KV, S].every((n) => Number.isInteger(n) && n > 0) || H % KV !== 0)
    throw new ShapeError(
      `${op}: ${H} heads of ${S} cannot share ${KV} heads of keys and values. H must be a multiple of KV.`,
    );
  if (qkv.cols !== qkvWidth(layout))
    throw new ShapeError(
      `${op}: "${qkv.label}" has ${qkv.cols} columns, expected (${H} heads + 2 · ${KV} of keys and values) · ${S} = ${qkvWidth(layout)}.`,
    );
}
