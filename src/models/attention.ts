/** Causal attention over a packed batch: heads of their own, or several queries' heads on one of keys. */
import { ShapeError } from '../errors.ts';
import { choose, gridOf } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty } from '../tensor/tensor.ts';
import { ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q } from './attention-rungs.ts';
import type { AttentionRung, AttentionShape } from './attention-rungs.ts';
import type { GpuBatch } from './batch.ts';
import { type HeadLayout, checkHeads, qkvWidth } from './heads.ts';

/** Keys and values of earlier tokens of one layer. */
export interface LayerCache {
  /** `stride` numbers for each token, e.g. the qkv of another pass. */
  readonly rows: Tensor;
  readonly stride: number;
  /** The column at which the keys begin; values follow them as far off as in the qkv of the pass. */
  readonly keys: number;
}

export interface AttentionOptions {
  readonly heads: HeadLayout;
  /** Absent: no span of the batch has a prefix. It is frozen: no gradient reaches it. */
  readonly cache?: LayerCache | undefined;
  /** Override the choice of kernels, for benches: the batch's tiles must not exceed those of the rung. */
  readonly rungs?: { readonly [pass in 'forward' | 'q' | 'kv']?: AttentionRung } | undefined;
}

/**
 * out_i = Σ_j softmax_j(q_i·k_j / √S) v_j over the keys in token i's span, head by head.
 *
 * @param qkv   [T, (H + 2 KV) S] of the tokens in the batch, laid out as `options.heads` says
 * @param batch whose spans say which keys each token sees
 * @returns     [T, H S]
 * @throws ShapeError when qkv is not as wide as its heads, or the batch has other tokens
 */
export function attention(s: Scope, qkv: Tensor, batch: GpuBatch, options: AttentionOptions): Tensor {
  const shape = shapeOf(qkv, batch, options);
  const { tokens, heads } = shape;
  const { H, S } = heads;
  const { adapter } = s.gpu;
  const rung = options.rungs?.forward ?? choose(ATTENTION, shape, adapter);
  const out = empty(s, [tokens, H * S], 'attention');
  const logsumexp = empty(s, [tokens, H], 'logsumexp');
  const bind = { qkv, cache: options.cache?.rows ?? qkv, spans: batch.spans, out, logsumexp };
  const cost = {
    flops: 4 * batch.keysSeen * out.cols,
    bytes: 16 * out.size,
    shape: `${tokens}x${out.cols}`,
  };
  const grid = gridOf(rung, shape, adapter, cost);
  const params = { ...own(shape), cache_stride: shape.cacheStride, cache_k: shape.cacheKeys };
  s.gpu.run(rung.kernel, rung.tile ? { ...bind, tiles: batch.tiles } : bind, params, grid);
  s.tape?.record(out, [qkv], (scope, dout) => [
    attentionBackward(scope, qkv, batch, options, { out, logsumexp, dout }),
  ]);
  return out;
}

/** What the backward pass reads of the forward one, and the gradient that it sends back. */
export interface AttentionGradient {
  /** [T, H S] */
  readonly out: Tensor;
  /** [T, H] */
  readonly logsumexp: Tensor;
  /** [T, H S] dL/dout */
  readonly dout: Tensor;
}

/** dL/dqkv, laid out as qkv. Keys and values of the cache are frozen. */
export function attentionBackward(
  s: Scope,
  qkv: Tensor,
  batch: GpuBatch,
  options: AttentionOptions,
  { out, logsumexp, dout }: AttentionGradient,
): Tensor {
  const shape = shapeOf(qkv, batch, options);
  const { adapter } = s.gpu;
  const { spans, followers, keysSeen } = batch;
  const dqkv = empty(s, qkv.shape, `d ${qkv.label}`);
  const delta = empty(s, logsumexp.shape, 'delta');
  const common = { qkv, logsumexp, dout, dqkv, delta };

  const q = options.rungs?.q ?? choose(ATTENTION_BACKWARD_Q, shape, adapter);
  s.gpu.run(
    q.kernel,
    { ...common, out, spans, cache: options.cache?.rows ?? qkv },
    { ...own(shape), cache_stride: shape.cacheStride, cache_k: shape.cacheKeys },
    gridOf(q, shape, adapter, { flops: 6 * keysSeen * dout.cols }),
  );
  const kv = options.rungs?.kv ?? choose(ATTENTION_BACKWARD_KV, shape, adapter);
  const grid = gridOf(kv, shape, adapter, { flops: 8 * keysSeen * dout.cols });
  s.gpu.run(kv.kernel, { ...common, followers }, own(shape), grid);
  return dqkv;
}

function shapeOf(qkv: Tensor, batch: GpuBatch, { heads, cache }: AttentionOptions): AttentionShape {
  checkHeads('attention', qkv, heads);
  if (batch.tokens !== qkv.rows)
    throw new ShapeError(`attention: "${qkv.label}" has ${qkv.rows} rows, the batch ${batch.tokens} tokens.`);
  return {
    ...{ tokens: qkv.rows, heads },
    ...{ cached: cache !== undefined, cacheStride: cache?.stride ?? 0, cacheKeys: cache?.keys ?? 0 },
    ...{ tiles: batch.tiles.rows, tileSize: batch.tileSize },
  };
}

/** Params that all three kernels take: the batch's own tokens. */
export function own({ tokens, heads }: Pick<AttentionShape, 'tokens' | 'heads'>) {
  const { H, KV, S, stride, q, k, v } = heads;
  const size = { m: tokens, heads: H, group: H / KV, s: S, scale: 1 / Math.sqrt(S) };
  return { ...size, row: qkvWidth(heads), head: stride, q, k, v };
}
