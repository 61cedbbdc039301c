/** Causal multi-head attention over a packed batch. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attentionGrid, chooseBackward, chooseAttention } from './attention-rungs.ts';
import type { AttentionRung, AttentionShape } from './attention-rungs.ts';
import type { GpuBatch } from './batch.ts';

/** Keys and values of earlier tokens of one layer. */
export interface LayerCache {
  /** `stride` numbers for each token, e.g. the qkv of another pass. */
  readonly rows: Tensor;
  readonly stride: number;
  /** The column at which the keys begin; the values follow D columns further. */
  readonly keys: number;
}

export interface AttentionOptions {
  readonly heads: number;
  /** Absent: no span of the batch has a prefix. It is frozen: no gradient reaches it. */
  readonly cache?: LayerCache | undefined;
  /** Overrides the choice of the forward kernel, for benches: the batch's tiles must be of its size. */
  readonly rung?: AttentionRung;
}

/**
 * out_i = Σ_j softmax_j(q_i·k_j / √S) v_j over the keys in token i's span, head by head.
 *
 * @param qkv   [T, 3D] of the tokens in the batch
 * @param batch whose spans say which keys each token sees
 * @returns     [T, D]
 * @throws ShapeError when the width is not 3 · heads · S, or the batch has other tokens
 */
export function attention(s: Scope, qkv: Tensor, batch: GpuBatch, options: AttentionOptions): Tensor {
  const { cache } = options;
  const shape = shapeOf(qkv, batch, options);
  const { m, heads } = shape;
  const { adapter } = s.gpu;
  const out = empty(s, [m, qkv.cols / 3], 'attention');
  const logsumexp = empty(s, [m, heads], 'logsumexp');
  const rung = options.rung ?? chooseAttention(batch.tileSize, shape, adapter);
  const bindings = { qkv, cache: cache?.rows ?? qkv, spans: batch.spans, out, logsumexp };
  const cost = { flops: 4 * batch.keysSeen * out.cols, bytes: 16 * out.size, shape: `${m}x${out.cols}` };
  if (rung.tile === 0) s.gpu.run(rung.kernel, bindings, scaled(shape), { threads: m * heads, cost });
  else {
    const grid = attentionGrid(rung.subgroups, batch.tiles.rows, shape, adapter);
    const overrides = rung.subgroups ? { ...grid.overrides, PREFIX: cache ? 1 : 0 } : {};
    s.gpu.run(rung.kernel, { ...bindings, tiles: batch.tiles }, scaled(shape), { ...grid, overrides, cost });
  }
  s.tape?.record(out, [qkv], (scope, dout) => [
    attentionBackward(scope, qkv, batch, options, { out, logsumexp, dout }),
  ]);
  return out;
}

/** What the backward pass reads of the forward one, and the gradient that it sends back. */
export interface AttentionGradient {
  /** [T, D] */
  readonly out: Tensor;
  /** [T, H] */
  readonly logsumexp: Tensor;
  /** [T, D] dL/dout */
  readonly dout: Tensor;
}

/** dL/dqkv [T, 3D]. Keys and values of the cache are frozen. */
export function attentionBackward(
  s: Scope,
  qkv: Tensor,
  batch: GpuBatch,
  options: AttentionOptions,
  { out, logsumexp, dout }: AttentionGradient,
): Tensor {
  const shape = shapeOf(qkv, batch, options);
  const { m, heads } = shape;
  const { spans, followers, keysSeen } = batch;
  const dqkv = empty(s, qkv.shape, `d ${qkv.label}`);
  const delta = empty(s, [m, heads], 'delta');
  const rungs = chooseBackward(batch.tileSize, shape, s.gpu.adapter);
  const grid = attentionGrid(true, m, shape, s.gpu.adapter);
  const single = { threads: m * heads };
  const prefix = { ...grid, overrides: { ...grid.overrides, PREFIX: options.cache ? 1 : 0 } };
  const common = { qkv, logsumexp, dout, dqkv, delta };
  const { cache_stride: _stride, cache_k: _keys, ...own } = scaled(shape);
  s.gpu.run(
    `models/attention_backward_q_${rungs.q}`,
    { ...common, out, spans, cache: options.cache?.rows ?? qkv },
    scaled(shape),
    { ...(rungs.q === 2 ? prefix : single), cost: { flops: 6 * keysSeen * dout.cols } },
  );
  s.gpu.run(`models/attention_backward_kv_${rungs.kv}`, { ...common, followers }, own, {
    ...(rungs.kv === 2 ? grid : single),
    cost: { flops: 8 * keysSeen * dout.cols },
  });
  return dqkv;
}

function shapeOf(qkv: Tensor, batch: GpuBatch, { heads, cache }: AttentionOptions): AttentionShape {
  const s = qkv.cols / 3 / heads;
  if (!Number.isInteger(s) || batch.tokens !== qkv.rows)
    throw new ShapeError(
      `attention: "${qkv.label}" [${qkv.rows}, ${qkv.cols}] is not [${batch.tokens} tokens, 3 · ${heads} heads · S].`,
    );
  return { m: qkv.rows, heads, s, cache_stride: cache?.stride ?? 0, cache_k: cache?.keys ?? 0 };
}

function scaled(shape: AttentionShape): AttentionShape & { readonly scale: number } & Record<string, number> {
  return { ...shape, scale: 1 / Math.sqrt(shape.s) };
}
