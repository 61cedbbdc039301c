/** Causal attention over packed rows in float64, with heads wherever a family puts them. */
import type { HeadLayout } from '../../src/models/heads.ts';

export interface Case {
  /** [M, (H + 2 KV) S] */
  qkv: ArrayLike<number>;
  /** [P, stride], keys from column cacheK on, laid out as those of qkv */
  cache: ArrayLike<number>;
  cacheStride: number;
  cacheK: number;
  /** [M, 4] */
  spans: ArrayLike<number>;
  heads: HeadLayout;
}

export interface Result {
  out: Float64Array;
  logsumexp: Float64Array;
  /** [M][H] weights of the keys that the query sees, prefix first. */
  p: number[][][];
}

/** Heads as GPT-2 has them: q | k | v. */
export function gpt2Heads(H: number, S: number): HeadLayout {
  return { ...{ H, KV: H, S, stride: S }, q: 0, k: H * S, v: 2 * H * S };
}

const widthOf = ({ H, KV, S }: HeadLayout): number => (H + KV + KV) * S;

/** Where the query of token i and head h begins. */
const queryAt = (c: Case, i: number, h: number): number =>
  i * widthOf(c.heads) + c.heads.q + h * c.heads.stride;

/** Where the key j and its value lie that head h of query i sees. */
function keyAt(
  c: Case,
  i: number,
  h: number,
  j: number,
): { of: ArrayLike<number>; at: number; value: number } {
  const { H, KV, k, v, stride } = c.heads;
  const head = Math.floor((h * KV) / H) * stride;
  const [prefixStart, prefixCount, selfStart] = [0, 1, 2].map((f) => c.spans[4 * i + f]!) as [
    number,
    number,
    number,
  ];
  const cached = j < prefixCount;
  const row = cached
    ? (prefixStart + j) * c.cacheStride + c.cacheK
    : (selfStart + j - prefixCount) * widthOf(c.heads) + k;
  return { of: cached ? c.cache : c.qkv, at: row + head, value: row + v - k + head };
}

export function attention(c: Case): Result {
  const { H, S } = c.heads;
  const D = H * S;
  const M = c.spans.length / 4;
  const out = new Float64Array(M * D);
  const logsumexp = new Float64Array(M * H);
  const p: number[][][] = [];
  for (let i = 0; i < M; i += 1) {
    p.push([]);
    for (let h = 0; h < H; h += 1) {
      const scores: number[] = [];
      for (let j = 0; j < c.spans[4 * i + 1]! + c.spans[4 * i + 3]!; j += 1) {
        const { of, at } = keyAt(c, i, h, j);
        let a = 0;
        for (let s = 0; s < S; s += 1) a += c.qkv[queryAt(c, i, h) + s]! * of[at + s]!;
        scores.push(a / Math.sqrt(S));
      }
      const top = Math.max(...scores);
      const lse = top + Math.log(scores.reduce((sum, a) => sum + Math.exp(a - top), 0));
      logsumexp[i * H + h] = lse;
      const weights = scores.map((a) => Math.exp(a - lse));
      p[i]!.push(weights);
      weights.forEach((weight, j) => {
        const { of, value } = keyAt(c, i, h, j);
        for (let s = 0; s < S; s += 1) out[i * D + h * S + s]! += weight * of[value + s]!;
      });
    }
  }
  return { out, logsumexp, p };
}

/**
 * dL/dqkv, laid out as qkv, from dL/dout, pushed back pair by pair:
 * dv_j += p_ij dout_i;   da_ij = p_ij (dout_i·v_j − dout_i·out_i);   dq_i += da_ij k_j/√S;   dk_j += da_ij q_i/√S.
 */
export function attentionBackward(c: Case, dout: ArrayLike<number>): Float64Array {
  const { H, S } = c.heads;
  const { out, p } = attention(c);
  const dqkv = new Float64Array(c.qkv.length);
  p.forEach((ofQuery, i) =>
    ofQuery.forEach((weights, h) => {
      const o = (i * H + h) * S;
      const q = queryAt(c, i, h);
      let doutOut = 0;
      for (let s = 0; s < S; s += 1) doutOut += dout[o + s]! * out[o + s]!;
      weights.forEach((weight, j) => {
        const { of, at, value } = keyAt(c, i, h, j);
        let doutV = 0;
        for (let s = 0; s < S; s += 1) doutV += dout[o + s]! * of[value + s]!;
        const da = (weight * (doutV - doutOut)) / Math.sqrt(S);
        for (let s = 0; s < S; s += 1) {
          dqkv[q + s]! += da * of[at + s]!;
          if (of !== c.qkv) continue; // the cache is frozen
          dqkv[at + s]! += da * c.qkv[q + s]!;
          dqkv[value + s]! += weight * dout[o + s]!;
        }
      });
    }),
  );
  return dqkv;
}
