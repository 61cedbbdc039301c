/** Causal multi-head attention over packed rows in float64. */
export interface Case {
  /** [M, 3D] */
  qkv: ArrayLike<number>;
  /** [P, stride], keys from column cacheK on, values D columns further */
  cache: ArrayLike<number>;
  cacheStride: number;
  cacheK: number;
  /** [M, 4] */
  spans: ArrayLike<number>;
  heads: number;
  /** S */
  size: number;
}

export interface Result {
  out: Float64Array;
  logsumexp: Float64Array;
  /** [M][H] weights of the keys that the query sees, prefix first. */
  p: number[][][];
}

/** Where key j of query i and head h lies; its value lies D further. */
function keyAt(c: Case, i: number, h: number, j: number): { of: ArrayLike<number>; at: number } {
  const D = c.heads * c.size;
  const [prefixStart, prefixCount, selfStart] = [0, 1, 2].map((f) => c.spans[4 * i + f]!) as [
    number,
    number,
    number,
  ];
  return j < prefixCount
    ? { of: c.cache, at: (prefixStart + j) * c.cacheStride + c.cacheK + h * c.size }
    : { of: c.qkv, at: (selfStart + j - prefixCount) * 3 * D + D + h * c.size };
}

export function attention(c: Case): Result {
  const D = c.heads * c.size;
  const M = c.spans.length / 4;
  const out = new Float64Array(M * D);
  const logsumexp = new Float64Array(M * c.heads);
  const p: number[][][] = [];
  for (let i = 0; i < M; i += 1) {
    p.push([]);
    for (let h = 0; h < c.heads; h += 1) {
      const scores: number[] = [];
      for (let j = 0; j < c.spans[4 * i + 1]! + c.spans[4 * i + 3]!; j += 1) {
        const { of, at } = keyAt(c, i, h, j);
        let a = 0;
        for (let s = 0; s < c.size; s += 1) a += c.qkv[i * 3 * D + h * c.size + s]! * of[at + s]!;
        scores.push(a / Math.sqrt(c.size));
      }
      const top = Math.max(...scores);
      const lse = top + Math.log(scores.reduce((sum, a) => sum + Math.exp(a - top), 0));
      logsumexp[i * c.heads + h] = lse;
      const weights = scores.map((a) => Math.exp(a - lse));
      p[i]!.push(weights);
      weights.forEach((weight, j) => {
        const { of, at } = keyAt(c, i, h, j);
        for (let s = 0; s < c.size; s += 1) out[i * D + h * c.size + s]! += weight * of[at + D + s]!;
      });
    }
  }
  return { out, logsumexp, p };
}

/**
 * dL/dqkv [M, 3D] from dL/dout, pushed back pair by pair:
 * dv_j += p_ij dout_i;   da_ij = p_ij (dout_i·v_j − dout_i·out_i);   dq_i += da_ij k_j/√S;   dk_j += da_ij q_i/√S.
 */
export function attentionBackward(c: Case, dout: ArrayLike<number>): Float64Array {
  const D = c.heads * c.size;
  const { out, p } = attention(c);
  const dqkv = new Float64Array(c.qkv.length);
  p.forEach((ofQuery, i) =>
    ofQuery.forEach((weights, h) => {
      const o = i * D + h * c.size;
      const q = i * 3 * D + h * c.size;
      let doutOut = 0;
      for (let s = 0; s < c.size; s += 1) doutOut += dout[o + s]! * out[o + s]!;
      weights.forEach((weight, j) => {
        const { of, at } = keyAt(c, i, h, j);
        let doutV = 0;
        for (let s = 0; s < c.size; s += 1) doutV += dout[o + s]! * of[at + D + s]!;
        const da = (weight * (doutV - doutOut)) / Math.sqrt(c.size);
        for (let s = 0; s < c.size; s += 1) {
          dqkv[q + s]! += da * of[at + s]!;
          if (of !== c.qkv) continue; // the cache is frozen
          dqkv[at + s]! += da * c.qkv[q + s]!;
          dqkv[at + D + s]! += weight * dout[o + s]!;
        }
      });
    }),
  );
  return dqkv;
}
