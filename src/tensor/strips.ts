/**
 * Strips: a weight once more, in a texture, in the order in which matrix products read it.
 *
 * A software adapter reads a texel without the branch that every element of a storage buffer costs it, and a strip
 * without the cache misses of rows that lie a page apart: products with strips run about 1.5 times as fast. They
 * are made at the first product with a weight and at the second with another matrix, as long as it stays unchanged and
 * as far as the budget goes, and end with it; or a matrix lives in strips alone.
 *
 * What a product gives must not depend on those before it: a run that was killed goes on with the bits that it would
 * have had. Tiles sum in the same order from buffers and from both kinds of strips; a single row does not, so it has
 * rungs of its own only where it is sure to find strips of one kind: those of a weight.
 *
 * Reading down the rows of strips is faster than along their columns: 1.6 times for GPT-2's unembedding of few rows, 1.1
 * to 1.2 times for products of many. So a product of few rows with a transpose makes strips of the transpose, and Linear
 * weights [out, in] are kept as strips of theirs: the forward pass reads rows, the gradient columns, as with GPT-2's.
 */
import type { Block } from '../gpu/buffers.ts';
import type { Gpu } from '../gpu/context.ts';
import { choose } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { MATMUL } from './matmul-rungs.ts';
import { type Tensor, isHalf, windows } from './tensor.ts';

/** Columns of a strip. */
const WIDTH = 32;
/** Rows are padded to a multiple of what a rung reads at once; texels below `FOLD` others go into further layers. */
const ROWS = 8;
const FOLD = 8192;
/** Bytes of all strips of a device. Weights beyond it are read from their buffers. */
const BUDGET = 2 ** 30;

/** Strips that a matrix of `cols` columns has side by side. */
function stripsAcross(cols: number): number {
  return Math.ceil(cols / WIDTH);
}

/** Which strips a weight has. */
const LASTING = new WeakMap<Block, 'b' | 'bᵀ'>();

/**
 * Takes a matrix for a weight: its strips are those that its layout asks for, from the first product on.
 *
 * @param layout as `keepInStrips`
 */
export function lastInStrips({ block }: Tensor, layout: Layout): void {
  LASTING.set(block, layout === 'out-in' ? 'bᵀ' : 'b');
}

export function isLasting({ block }: Tensor): boolean {
  return LASTING.has(block);
}

/** Rows of a product up to which strips of a transpose are worth making. */
const FEW_ROWS = 8;

/** [K, N], or [N, K] where the forward pass reads the transpose: GPT-2's Conv1D, and a Linear weight. */
type Layout = 'in-out' | 'out-in';

export interface Strips {
  readonly view: GPUTextureView;
  /** They hold bᵀ. */
  readonly transposed: boolean;
  /** How many lie side by side. */
  readonly across: number;
}

/**
 * The strips of `b`, if it has or now gets them.
 *
 * @param product the product that is to read them
 * @param eager   at the first product already, over the budget, and of `b` itself or of its transpose
 */
export function stripsOf(
  s: Scope,
  b: Tensor,
  product: { readonly m: number; readonly transposeB: boolean },
  eager: 'b' | 'bᵀ' | undefined,
): Strips | undefined {
  const { block } = b;
  const { pool } = s.gpu;
  const matrix = `[${b.rows}, ${b.cols}]`;
  const keyOf = (transposed: boolean): string => `strips of ${matrix}${transposed ? 'ᵀ' : ''}`;
  const { derived } = block;
  const wanted = eager ?? LASTING.get(block);
  // What lives in strips alone is read as it is.
  const keys = [
    ...(wanted === 'bᵀ' ? [] : [keyOf(false)]),
    ...(wanted === 'b' && block.buffer ? [] : [keyOf(true)]),
  ];
  if (derived && (derived.writes !== block.writes || !keys.includes(derived.key))) pool.forget(block);
  const of = (view: GPUTextureView, transposed: boolean): Strips => ({
    ...{ view, transposed },
    across: stripsAcross(transposed ? b.rows : b.cols),
  });
  if (block.derived?.view) return of(block.derived.view, block.derived.key === keyOf(true));

  const across = wanted ? wanted === 'bᵀ' : product.transposeB && product.m <= FEW_ROWS;
  const turned = across ? stripSize(s.gpu, b, true) : undefined;
  const size = turned ?? stripSize(s.gpu, b, false);
  if (!size) return undefined;
  const transposed = turned !== undefined;
  const affordable = pool.derivedBytes + size[0] * size[1] * size[2] * 16 <= BUDGET;
  if (!eager && !((wanted ?? block.derived) && affordable)) {
    const key = keyOf(transposed);
    block.derived = { writes: block.writes, key, bytes: 0, texture: undefined };
    return undefined;
  }
  const view: GPUTextureView = pool.derive(block, keyOf(transposed), size, () =>
    move(s.gpu, 'software/unpack_strips', b, view, transposed),
  );
  move(s.gpu, 'software/pack_strips', b, view, transposed);
  return of(view, transposed);
}

/**
 * From here on the contents of `b` lie in strips alone, so that a model needs no memory for both. Whoever reads or
 * writes its buffer later on has it restored first, bit for bit. Nothing happens where products do not read strips.
 *
 * @param b the whole of its block
 */
export function keepInStrips(s: Scope, b: Tensor, layout: Layout = 'in-out'): void {
  lastInStrips(b, layout);
  const transposed = layout === 'out-in';
  const [k, n] = transposed ? [b.cols, b.rows] : [b.rows, b.cols];
  const operands = { m: 16, n, k, transposeB: false, aStride: k, aFirst: 0 };
  const rung = choose(MATMUL, { ...operands, dtype: b.dtype, strips: true, lasting: true }, s.gpu.adapter);
  if (rung.reads !== 'strips' || !stripsOf(s, b, operands, transposed ? 'bᵀ' : 'b')) return;
  s.gpu.pool.spare(b.block);
}

/** Between rows and strips, in windows that one binding holds. */
function move(
  gpu: Gpu,
  kernel: 'software/pack_strips' | 'software/unpack_strips',
  b: Tensor,
  strips: GPUTextureView,
  transposed: boolean,
): void {
  const half = isHalf(b.dtype);
  const HALF = half ? 1 : 0;
  const pack = kernel === 'software/pack_strips';
  const words = (n: number): number => Math.ceil(n / (half ? 2 : 1));
  for (const [first, to] of windows(gpu, b.rows, b.bytes / b.rows)) {
    const rows = to - first;
    gpu.run(
      kernel,
      { w: b.slice(first, to), strips },
      { first, rows, cols: b.cols, across: stripsAcross(transposed ? b.rows : b.cols) },
      {
        threads: pack ? texels(rows, b.cols, half, transposed) : words(rows * b.cols),
        overrides: { HALF, TRANSPOSED: transposed ? 1 : 0 },
        cost: { bytes: (half ? 4 : 8) * rows * b.cols },
      },
    );
  }
}

/** How many hold a part of a matrix, or of its transpose: four columns of one row each, or of two rows of halves. */
function texels(rows: number, cols: number, half: boolean, transposed: boolean): number {
  const [down, across] = transposed ? [cols, rows] : [rows, cols];
  return Math.ceil(down / (half ? 2 : 1)) * Math.ceil(across / 4);
}

/** Undefined where no texture can hold them, or `b` is a part of something larger. */
function stripSize(gpu: Gpu, b: Tensor, transposed: boolean): [number, number, number] | undefined {
  const { maxTextureDimension2D, maxTextureArrayLayers } = gpu.device.limits;
  const [rows, cols] = transposed ? [b.cols, b.rows] : [b.rows, b.cols];
  const down = (Math.ceil(rows / ROWS) * ROWS) / (isHalf(b.dtype) ? 2 : 1); // texels
  const height = Math.min(FOLD, down);
  const layers = stripsAcross(cols) * Math.ceil(down / FOLD);
  const whole = b.offset === 0 && b.bytes === b.block.bytes;
  if (!whole || height > maxTextureDimension2D || layers > maxTextureArrayLayers) return undefined;
  return [WIDTH / 4, height, layers];
}
