/** Causal multi-head attention over a packed batch. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
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
  readonly cache?: LayerCache;
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
  const { heads, cache } = options;
  const [m, d] = [qkv.rows, qkv.cols / 3];
  if (!Number.isInteger(d / heads) || batch.tokens !== m)
    throw new ShapeError(
      `attention: "${qkv.label}" [${m}, ${qkv.cols}] is not [${batch.tokens} tokens, 3 · ${heads} heads · S].`,
    );
  const out = empty(s, [m, d], 'attention');
  const logsumexp = empty(s, [m, heads], 'logsumexp');
  const params = {
    m,
    heads,
    s: d / heads,
    cache_stride: cache?.stride ?? 0,
    cache_k: cache?.keys ?? 0,
    scale: 1 / Math.sqrt(d / heads),
  };
  const bindings = { qkv, cache: cache?.rows ?? qkv, spans: batch.spans, out, logsumexp };
  s.gpu.run('gpt2/attention_1', bindings, params, { threads: m * heads });
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
  { heads, cache }: AttentionOptions,
  { out, logsumexp, dout }: AttentionGradient,
): Tensor {
  const m = qkv.rows;
  const size = qkv.cols / 3 / heads;
  const dqkv = empty(s, qkv.shape, `d ${qkv.label}`);
  const delta = empty(s, [m, heads], 'delta');
  const params = { m, heads, s: size, scale: 1 / Math.sqrt(size) };
  const forward = { qkv, logsumexp };
  s.gpu.run(
    'gpt2/attention_backward_q_1',
    { ...forward, cache: cache?.rows ?? qkv, spans: batch.spans, out, dout, dqkv, delta },
    { ...params, cache_stride: cache?.stride ?? 0, cache_k: cache?.keys ?? 0 },
    { threads: m * heads },
  );
  s.gpu.run(
    'gpt2/attention_backward_kv_1',
    { ...forward, followers: batch.followers, dout, delta, dqkv },
    params,
    { threads: m * heads },
  );
  return dqkv;
}
