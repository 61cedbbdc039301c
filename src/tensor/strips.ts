/**
 * Strips: a weight once more, in a texture, in the order in which matrix products read it.
 *
 * A software adapter reads a texel without the branch that every element of a storage buffer costs it, and a strip
 * without the cache misses of rows that lie a page apart: products with strips run about 1.5 times as fast. They
 * are made at the second product with an unchanged matrix, as far as the budget goes, and end with it.
 */
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from './tensor.ts';

/** Columns of a strip. */
const WIDTH = 32;
/** Rows are padded with zeros to a multiple of what a rung reads at once. */
const ROWS = 8;
/** Bytes of all strips of a device. Weights beyond it are read from their buffers. */
const BUDGET = 2 ** 30;

/** The strips of `b`, if it has or now gets them. `eager`: at the first product already, and over the budget. */
export function stripsOf(s: Scope, b: Tensor, eager: boolean): GPUTextureView | undefined {
  const size = stripSize(s.gpu, b);
  if (!size) return undefined;
  const { block } = b;
  const key = `strips of [${b.rows}, ${b.cols}]`;
  const { pool } = s.gpu;
  if (block.derived && (block.derived.writes !== block.writes || block.derived.key !== key))
    pool.forget(block);
  if (block.derived?.texture) return view(block.derived.texture);
  const affordable = pool.derivedBytes + size[0] * size[1] * size[2] * 16 <= BUDGET;
  if (!eager && !(block.derived && affordable)) {
    block.derived = { writes: block.writes, key, bytes: 0, texture: undefined };
    return undefined;
  }
  const strips = view(pool.derive(block, key, size));
  const threads = b.rows * Math.ceil(b.cols / 4);
  const overrides = { HALF: b.dtype === 'f16' ? 1 : 0 };
  const params = { rows: b.rows, cols: b.cols };
  s.gpu.run('tensor/pack_strips', { w: b, strips }, params, {
    threads,
    overrides,
    cost: { bytes: 2 * b.bytes },
  });
  return strips;
}

/** Undefined where no texture can hold them, or `b` is a part of something larger. */
function stripSize(gpu: Gpu, b: Tensor): [number, number, number] | undefined {
  const { maxTextureDimension2D, maxTextureArrayLayers } = gpu.device.limits;
  const size: [number, number, number] = [
    WIDTH / 4,
    Math.ceil(b.rows / ROWS) * ROWS,
    Math.ceil(b.cols / WIDTH),
  ];
  const whole = b.offset === 0 && b.bytes === b.block.bytes;
  return whole && size[1] <= maxTextureDimension2D && size[2] <= maxTextureArrayLayers ? size : undefined;
}

function view(texture: GPUTexture): GPUTextureView {
  return texture.createView({ dimension: '2d-array' });
}
