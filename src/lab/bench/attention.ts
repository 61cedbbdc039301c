/** Attention and its gradient over packed rows, with and without keys and values of earlier tokens. */
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';
import { attention, attentionBackward, type AttentionOptions } from '../../models/attention.ts';
import { ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q } from '../../models/attention-rungs.ts';
import type { AttentionRung } from '../../models/attention-rungs.ts';
import { packRows, uploadBatch } from '../../models/batch.ts';
import { headBlocks } from '../../models/heads.ts';
import { upload, type Tensor } from '../../tensor/tensor.ts';
import { numbers, prepared, type BenchCase, type Family, type Prepared } from './family.ts';

interface Rows {
  readonly rows: number;
  /** Tokens of a row whose keys and values are there. */
  readonly cached: number;
  /** Tokens of a row that are computed. */
  readonly fresh: number;
  readonly backward: boolean;
}

type Rungs = NonNullable<AttentionOptions['rungs']>;

const HEADS = 12;
const SIZE = 64;
const D = HEADS * SIZE;
const heads = headBlocks({ H: HEADS, KV: HEADS, S: SIZE });

/** The rungs of a pass that this adapter can run, fastest first: one forward, or two backward. */
function rungsFor({ adapter }: Gpu, { backward, cached }: Rows): readonly Rungs[] {
  const stride = cached > 0 ? 3 * D : 0;
  const shape = { tokens: 1, heads, cached: cached > 0, cacheStride: stride, cacheKeys: stride / 3 };
  const fits = (rung: AttentionRung): boolean =>
    rung.fits({ ...shape, tiles: 1, tileSize: rung.tile ?? 2 }, adapter);
  if (!backward) return ATTENTION.filter(fits).map((forward) => ({ forward }));
  const kvs = ATTENTION_BACKWARD_KV.filter(fits);
  return ATTENTION_BACKWARD_Q.filter(fits).flatMap((q, i) => kvs.slice(i, i + 1).map((kv) => ({ q, kv })));
}

function attentionCase(c: Rows, rungs: Rungs): BenchCase {
  const tokens = c.rows * c.fresh;
  // Query j of a row sees the cache and j + 1 keys of its own.
  const seen = c.rows * (c.fresh * c.cached + (c.fresh * (c.fresh + 1)) / 2);
  const kernels = Object.values(rungs).map((rung) => rung.kernel);
  return {
    name: kernels.map((name) => name.replace(/^.*\/(attention_)?/, '')).join(' + '),
    shape: `${c.rows}x${c.cached > 0 ? `(${c.cached})+` : ''}${c.fresh}`,
    kernels,
    flops: (c.backward ? 14 : 4) * seen * D,
    bytes: 4 * D * ((c.backward ? 8 : 4) * tokens + 2 * c.rows * c.cached),
    prepare: (s) => prepareAttention(s, c, rungs),
  };
}

function prepareAttention(s: Scope, c: Rows, rungs: Rungs): Prepared {
  const { rows, cached, fresh, backward } = c;
  const length = cached + fresh;
  const lists = Array.from({ length: rows }, () => Array.from({ length }, () => 0));
  const batch = uploadBatch(s, packRows(lists, { from: lists.map(() => cached) }), rungs.forward?.tile);
  const tokens = rows * fresh;
  const own = numbers(tokens * 3 * D, 1);
  const earlier = numbers(Math.max(1, rows * cached) * 3 * D, 2);
  const slopes = numbers(tokens * D, 3);
  const qkv = upload(s, own, [tokens, 3 * D], 'qkv');
  const dout = upload(s, slopes, [tokens, D], 'dout');
  const cache = {
    rows: upload(s, earlier, [Math.max(1, rows * cached), 3 * D], 'cache'),
    stride: 3 * D,
    keys: D,
  };
  const options: AttentionOptions = { heads, rungs, cache: cached > 0 ? cache : undefined };

  const reference = attentionReference(c, own, earlier, slopes);
  const bound = { reduce: SIZE + length, scale: backward ? 30 : 6 };
  if (!backward) return prepared(s, (scope) => attention(scope, qkv, batch, options), reference.out, bound);
  const logsumexps = Float32Array.from({ length: tokens * HEADS }, (_, e) =>
    reference.logsumexp(Math.floor(e / HEADS), e % HEADS),
  );
  const logsumexp = upload(s, logsumexps, [tokens, HEADS], 'logsumexp');
  const gradient = { out: attention(s, qkv, batch, options), logsumexp, dout };
  const run = (scope: Scope): Tensor => attentionBackward(scope, qkv, batch, options, gradient);
  return prepared(s, run, reference.gradient, bound);
}

/** The float64 check of a gradient takes the square of a row's tokens for each element: rows up to this long. */
const BACKWARD_TOKENS = 64;

export const attentionFamily: Family = {
  name: 'attention',
  title: `forward and backward; rows x (cached) + tokens, ${HEADS} heads of ${SIZE}`,
  sizes: ['ROWS', 'CACHED', 'TOKENS'],
  expects: ([rows, , fresh]) => (rows === 0 || fresh === 0 ? 'ROWS and TOKENS above 0' : undefined),
  // What an edit runs once and in each step, a long document, and a step of generation.
  shapes: [
    [22, 0, 20],
    [22, 17, 3],
    [1, 0, 1024],
    [8, 512, 1],
  ],
  cases: (gpu, [rows = 1, cached = 0, fresh = 1]) =>
    [false, true]
      .filter((backward) => !backward || cached + fresh <= BACKWARD_TOKENS)
      .map((backward) => ({ rows, cached, fresh, backward }))
      .flatMap((c) => rungsFor(gpu, c).map((rungs) => attentionCase(c, rungs))),
};

/**
 *   p_ij = softmax_j(q_i·k_j / √S) ,  out_i = Σ_j p_ij v_j
 *   ds_ij = p_ij (dout_i·v_j − dout_i·out_i) / √S ,  dq_i = Σ_j ds_ij k_j ,  dk_j = Σ_i ds_ij q_i ,  dv_j = Σ_i p_ij dout_i
 *
 * @param own, earlier, slopes [rows · fresh, 3D], [rows · cached, 3D] and [rows · fresh, D]
 * @returns element e of out [T, D], log Σ exp of query i and head h, and element e of dqkv [T, 3D]
 */
function attentionReference(
  { cached, fresh }: Rows,
  own: Float32Array,
  earlier: Float32Array,
  slopes: Float32Array,
) {
  const rowOf = (i: number): number => Math.floor(i / fresh);
  /** Of part 0, 1, 2 (q, k, v) and head h, number s of the j-th token that row b holds. */
  const at = (b: number, j: number, part: number, h: number, s: number): number => {
    const [of, token] = j < cached ? [earlier, b * cached + j] : [own, b * fresh + j - cached];
    return of[token * 3 * D + part * D + h * SIZE + s] ?? NaN;
  };
  const dot = (x: (s: number) => number, y: (s: number) => number): number => {
    let sum = 0;
    for (let s = 0; s < SIZE; s += 1) sum += x(s) * y(s);
    return sum;
  };
  const scores = (i: number, h: number): number[] => {
    const [b, place] = [rowOf(i), cached + (i % fresh)];
    const q = (s: number): number => at(b, place, 0, h, s);
    const score = (_: unknown, j: number): number => dot(q, (s) => at(b, j, 1, h, s)) / Math.sqrt(SIZE);
    return Array.from({ length: place + 1 }, score);
  };
  const logsumexp = (i: number, h: number, all = scores(i, h)): number => {
    const top = Math.max(...all);
    return top + Math.log(all.reduce((sum, a) => sum + Math.exp(a - top), 0));
  };
  const weights = (i: number, h: number): number[] => {
    const all = scores(i, h);
    const lse = logsumexp(i, h, all);
    return all.map((a) => Math.exp(a - lse));
  };
  const slope = (i: number, h: number) => (s: number) => slopes[i * D + h * SIZE + s] ?? NaN;
  const dScores = (i: number, h: number): number[] => {
    const p = weights(i, h);
    const along = p.map((_, j) => dot(slope(i, h), (s) => at(rowOf(i), j, 2, h, s)));
    const mean = p.reduce((sum, weight, j) => sum + weight * (along[j] ?? NaN), 0);
    return p.map((weight, j) => (weight * ((along[j] ?? NaN) - mean)) / Math.sqrt(SIZE));
  };

  const out = (e: number): number => {
    const [i, h, s] = [Math.floor(e / D), Math.floor((e % D) / SIZE), e % SIZE];
    return weights(i, h).reduce((sum, weight, j) => sum + weight * at(rowOf(i), j, 2, h, s), 0);
  };
  const gradient = (e: number): number => {
    const [i, column] = [Math.floor(e / (3 * D)), e % (3 * D)];
    const [part, h, s] = [Math.floor(column / D), Math.floor((column % D) / SIZE), column % SIZE];
    const [b, place] = [rowOf(i), cached + (i % fresh)];
    if (part === 0) return dScores(i, h).reduce((sum, ds, j) => sum + ds * at(b, j, 1, h, s), 0);
    let sum = 0;
    for (let q = i; rowOf(q) === b; q += 1) {
      if (part === 1) sum += (dScores(q, h)[place] ?? NaN) * at(b, cached + (q % fresh), 0, h, s);
      else sum += (weights(q, h)[place] ?? NaN) * slope(q, h)(s);
    }
    return sum;
  };
  return { out, logsumexp, gradient };
}
