/**
 * What a decoder is made of, as far as it differs from one family of models to the next: sizes, tensors, one block,
 * and the matrix that an edit changes. One file a family says it; `gpt2.ts` is the first.
 */
import type { Scope } from '../gpu/scope.ts';
import type { MatmulOptions } from '../tensor/matmul.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { RopeSettings } from './config.ts';
import type { HeadLayout } from './heads.ts';
import type { RopePairs } from './rope.ts';

/** How long a text may be. */
export interface ContextLimit {
  /** Longest text in tokens. */
  readonly context: number;
  /** What ends it, for messages; absent: the model's context window. */
  readonly contextIs?: string | undefined;
}

/** Sizes of a decoder, in the letters that shapes are written with. */
export interface Dimensions extends ContextLimit {
  /** Width of the residual stream. */
  readonly D: number;
  /** Width of the MLP: the length of a key. */
  readonly F: number;
  /** Heads. */
  readonly H: number;
  /** Heads of keys and values; fewer than H where queries share them. */
  readonly KV: number;
  /** Numbers of a head. */
  readonly S: number;
  /** Vocabulary. */
  readonly V: number;
  readonly layers: number;
}

export interface TensorSpec {
  readonly shape: readonly number[];
  /**
   * What a checkpoint stores in its place, by name and number of rows: rows of Linear weights [out, in] follow each
   * other, so tensors that one product reads together are laid one after another at load, and nothing is reordered.
   */
  readonly parts?: readonly { readonly name: string; readonly rows: number }[];
  /**
   * Who reads it. `products`: matrix products alone, so that it may be stored in 16 bits and in strips. `rows`: single
   * rows are looked up. `both`: a table of tokens that is also the head. `vector`: gains and biases, always f32.
   */
  readonly use: 'products' | 'rows' | 'both' | 'vector';
}

/** The last matrix of an MLP, W. */
export interface EditedWeight {
  readonly name: string;
  /** As stored: [F, D], k W, the transpose of the paper's W; or [D, F], W k. */
  readonly layout: 'in-out' | 'out-in';
}

/** How a block computes the key, for people who have an edit explained. */
export interface KeyFormula {
  /** Of the key k_j of text j, by the symbols of the family's page. */
  readonly equation: string;
  /** Its matrices, as stored. */
  readonly shapes: readonly (readonly [symbol: string, shape: string])[];
  /** Shaders of the norm and of the activation. */
  readonly norm: string;
  readonly activation: string;
}

/** Tensors by their Hugging Face names. @throws RangeError for a name that the model does not have */
export type Weights = (name: string) => Tensor;

/**
 * Looks at a tensor of one layer; a tensor that it returns takes the place of the one it saw. What it sees ends with
 * the scope `s`, unless it keeps it elsewhere.
 */
export type Hook = (s: Scope, layer: number, t: Tensor) => Tensor | undefined;

/** Places where a hook may stand. */
export interface Hooks {
  /** q, k and v of all tokens, [T, (H + 2 KV) S], as attention reads them. */
  readonly qkv?: Hook | undefined;
  /** What attention adds to the stream, [T, D]. */
  readonly attention?: Hook | undefined;
  /** The MLP's key: the input of its last matrix, [T, F]. */
  readonly key?: Hook | undefined;
  /** What the MLP adds to the stream, [T, D]. */
  readonly mlp?: Hook | undefined;
  /** The stream after the block, [T, D]. It belongs to the scope of the whole pass. */
  readonly state?: Hook | undefined;
}

/** Ends a pass within its last block, and returns what stands there. */
export type Stop = 'qkv' | 'key';

/** One pass of a batch through one block: what a block is given beside the stream. */
export interface BlockRun {
  readonly s: Scope;
  readonly layer: number;
  readonly weights: Weights;
  readonly heads: HeadLayout;
  readonly stop: Stop | undefined;
  /** The norm of that name in this layer: LayerNorm, or RMSNorm where it has no bias. */
  norm(name: string, t: Tensor): Tensor;
  /** The product with the matrix of that name in this layer, plus its bias where it has one. */
  linear(name: string, t: Tensor, more?: Pick<MatmulOptions, 'gelu'>): Tensor;
  /** q k v whose q and k are turned by the positions of their tokens. */
  turn(qkv: Tensor, pairs: RopePairs): Tensor;
  /** What attention makes of q k v, [T, H S]. */
  attend(qkv: Tensor): Tensor;
  /** Those rows of t [T, ·] that are wanted of this block: all of them, but in the last block of some passes. */
  wanted(t: Tensor): Tensor;
  /** Shows `t` to the hook at `site`, and goes on with what it gives back. */
  show(site: keyof Hooks, t: Tensor): Tensor;
  /** x plus the product that ends a branch, as `linear` has it. Where no hook looks at it, it adds to x by itself. */
  join(site: 'attention' | 'mlp', x: Tensor, name: string, t: Tensor): Tensor;
}

/** The tensors of a checkpoint and their shapes, in the order of a pass: those that are stacked on the device one by one. */
export function storedTensors({
  tensors,
}: Pick<Architecture, 'tensors'>): ReadonlyMap<string, readonly number[]> {
  const stored = new Map<string, readonly number[]>();
  for (const [name, { shape, parts }] of tensors)
    if (parts) for (const part of parts) stored.set(part.name, [part.rows, ...shape.slice(1)]);
    else stored.set(name, shape);
  return stored;
}

/** A decoder of some family and size. */
export interface Architecture {
  /** `model_type` of config.json. */
  readonly name: string;
  readonly dims: Dimensions;
  /** Where q, k and v lie in what the `qkv` hook sees. */
  readonly heads: HeadLayout;
  /** Every tensor on the device, in the order in which a pass reads them. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** A name of a checkpoint's file as `tensors` has it: some files have a prefix before every name, or an older name. */
  readonly canonical: (stored: string) => string;
  /** Copies of another tensor that a checkpoint may hold as well. */
  readonly tied: ReadonlyMap<string, string>;
  /** Whether a checkpoint may hold this name besides, to no effect. */
  readonly ignores: (name: string) => boolean;
  /** The table of tokens, [V, D], and of learned positions, [context, D], where there are such. */
  readonly embedding: string;
  readonly positions?: string | undefined;
  /** What the names of a layer's tensors begin with, before its number. */
  readonly prefix: string;
  /** The norm after the last block, and the matrix [V, D] that makes logits of it; both without `.weight`. */
  readonly finalNorm: string;
  readonly head: string;
  /** ε of all norms. */
  readonly eps: number;
  /** Positions that turn q and k; absent: others. The table that it takes is the weight `rope`. */
  readonly rope?: RopeSettings | undefined;
  /** Numbers of the config that change what the weights compute: part of what a covariance is known by. */
  readonly constants: readonly number[];
  readonly editedWeight: (layer: number) => EditedWeight;
  readonly key: KeyFormula;
  /** x [T, D] to [T, D], or to those rows that are wanted; with a stop, what stands there. */
  readonly block: (run: BlockRun, x: Tensor) => Tensor;
}
