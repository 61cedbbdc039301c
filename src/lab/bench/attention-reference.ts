/** Attention over equal rows in float64, and single elements of its gradient. */

export interface AttentionCase {
  /** [rows · fresh, 3D], [rows · cached, 3D] and [rows · fresh, D] */
  readonly own: Float32Array;
  readonly earlier: Float32Array;
  readonly slopes: Float32Array;
  readonly heads: number;
  readonly size: number;
  readonly cached: number;
  readonly fresh: number;
}

export interface AttentionReference {
  /** Element e of out [T, D]. */
  readonly out: (e: number) => number;
  /** Of query i and head h. */
  readonly logsumexp: (i: number, h: number) => number;
  /** Element e of dqkv [T, 3D]. */
  readonly gradient: (e: number) => number;
}

/**
 *   p_ij = softmax_j(q_i·k_j / √S) ,  out_i = Σ_j p_ij v_j
 *   ds_ij = p_ij (dout_i·v_j − dout_i·out_i) / √S ,  dq_i = Σ_j ds_ij k_j ,  dk_j = Σ_i ds_ij q_i ,  dv_j = Σ_i p_ij dout_i
 */
export function attentionReference(c: AttentionCase): AttentionReference {
  const { heads, size, cached, fresh } = c;
  const D = heads * size;
  const rowOf = (i: number): number => Math.floor(i / fresh);
  const keys = (i: number): number => cached + (i % fresh) + 1;
  /** Column `part`·D + h·S + s of the j-th token that row b holds. */
  const at = (b: number, j: number, part: number, h: number, s: number): number => {
    const column = part * D + h * size + s;
    const [of, token] = j < cached ? [c.earlier, b * cached + j] : [c.own, b * fresh + j - cached];
    return of[token * 3 * D + column] ?? NaN;
  };
  const dot = (x: (s: number) => number, y: (s: number) => number): number => {
    let sum = 0;
    for (let s = 0; s < size; s += 1) sum += x(s) * y(s);
    return sum;
  };
  const lse = (i: number, h: number): number => {
    const all = scores(i, h);
    const top = Math.max(...all);
    return top + Math.log(all.reduce((sum, a) => sum + Math.exp(a - top), 0));
  };
  const scores = (i: number, h: number): number[] => {
    const q = (s: number): number => at(rowOf(i), cached + (i % fresh), 0, h, s);
    return Array.from(
      { length: keys(i) },
      (_, j) => dot(q, (s) => at(rowOf(i), j, 1, h, s)) / Math.sqrt(size),
    );
  };
  const weights = (i: number, h: number): number[] => {
    const all = scores(i, h);
    const top = Math.max(...all);
    const sum = all.reduce((total, a) => total + Math.exp(a - top), 0);
    return all.map((a) => Math.exp(a - top) / sum);
  };
  const slope = (i: number, h: number) => (s: number) => c.slopes[i * D + h * size + s] ?? NaN;
  const dScores = (i: number, h: number): number[] => {
    const p = weights(i, h);
    const along = p.map((_, j) => dot(slope(i, h), (s) => at(rowOf(i), j, 2, h, s)));
    const mean = p.reduce((sum, weight, j) => sum + weight * (along[j] ?? NaN), 0);
    return p.map((weight, j) => (weight * ((along[j] ?? NaN) - mean)) / Math.sqrt(size));
  };

  const out = (e: number): number => {
    const [i, h, s] = [Math.floor(e / D), Math.floor((e % D) / size), e % size];
    return weights(i, h).reduce((sum, weight, j) => sum + weight * at(rowOf(i), j, 2, h, s), 0);
  };
  const gradient = (e: number): number => {
    const [i, column] = [Math.floor(e / (3 * D)), e % (3 * D)];
    const [part, h, s] = [Math.floor(column / D), Math.floor((column % D) / size), column % size];
    const [b, place] = [rowOf(i), cached + (i % fresh)];
    if (part === 0) return dScores(i, h).reduce((sum, ds, j) => sum + ds * at(b, j, 1, h, s), 0);
    let sum = 0;
    for (let q = i; rowOf(q) === b; q += 1) {
      if (part === 1) sum += (dScores(q, h)[place] ?? NaN) * at(b, cached + (q % fresh), 0, h, s);
      else sum += (weights(q, h)[place] ?? NaN) * slope(q, h)(s);
    }
    return sum;
  };
  return { out, logsumexp: lse, gradient };
}
