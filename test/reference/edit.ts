/** The arithmetic of an edit in float64 loops, from the formulas of Meng et al. 2022 and Kingma and Ba 2015. */

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i]! * b[i]!;
  return sum;
}

export const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

/** loss, nll, kl, decay, probability, |δ| */
export function lossRow(
  nll: ArrayLike<number>,
  kl: number,
  perRow: number,
  delta: ArrayLike<number>,
  v0: ArrayLike<number>,
  weightDecay: number,
): number[] {
  const contexts = nll.length / perRow;
  let mean = 0;
  let probability = 0;
  for (let j = 0; j < contexts; j += 1) {
    let own = 0;
    for (let i = 0; i < perRow; i += 1) own += nll[j * perRow + i]! / perRow;
    mean += own / contexts;
    probability += Math.exp(-own) / contexts;
  }
  const decay = (weightDecay * norm(delta)) / dot(v0, v0);
  return [mean + kl + decay, mean, kl, decay, probability, norm(delta)];
}

/** Adam with bias correction and eps outside the root; returns the new δ, m, v. */
export function adam(
  { delta, m, v }: { delta: ArrayLike<number>; m: ArrayLike<number>; v: ArrayLike<number> },
  gradient: ArrayLike<number>,
  v0: ArrayLike<number>,
  step: number,
  rate: number,
  weightDecay: number,
): { delta: number[]; m: number[]; v: number[] } {
  const out = { delta: [] as number[], m: [] as number[], v: [] as number[] };
  const length = norm(delta);
  for (let i = 0; i < delta.length; i += 1) {
    const pull = length === 0 ? 0 : (weightDecay * delta[i]!) / (length * dot(v0, v0));
    const g = gradient[i]! + pull;
    out.m.push(0.9 * m[i]! + 0.1 * g);
    out.v.push(0.999 * v[i]! + 0.001 * g * g);
    const mHat = out.m[i]! / (1 - 0.9 ** (step + 1));
    const vHat = out.v[i]! / (1 - 0.999 ** (step + 1));
    out.delta.push(delta[i]! - (rate * mHat) / (Math.sqrt(vHat) + 1e-8));
  }
  return out;
}

/** Sum over chosen rows of x [T, d]. */
export function sumRows(x: ArrayLike<number>, d: number, rows: Iterable<number>): number[] {
  const sum = new Array<number>(d).fill(0);
  for (const r of rows) for (let i = 0; i < d; i += 1) sum[i]! += x[r * d + i]!;
  return sum;
}

/** W [f, d] + u λᵀ */
export function rankOne(w: ArrayLike<number>, u: ArrayLike<number>, lambda: ArrayLike<number>): number[] {
  const d = lambda.length;
  return Array.from({ length: w.length }, (_, i) => w[i]! + u[Math.floor(i / d)]! * lambda[i % d]!);
}
