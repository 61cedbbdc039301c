/** Losses on logits in float64. Each function takes one row. */
type Row = ArrayLike<number>;

export function logSoftmax(x: Row): Float64Array {
  let top = -Infinity;
  for (let v = 0; v < x.length; v += 1) top = Math.max(top, x[v]!);
  let sum = 0;
  for (let v = 0; v < x.length; v += 1) sum += Math.exp(x[v]! - top);
  return Float64Array.from(x, (value) => value - top - Math.log(sum));
}

export function nll(x: Row, target: number): number {
  return -logSoftmax(x)[target]!;
}

export function nllGradient(x: Row, target: number): Float64Array {
  return logSoftmax(x).map((logP, v) => Math.exp(logP) - (v === target ? 1 : 0));
}

/** KL(p || p0) = Σ p (ln p − ln p0). */
export function kl(x: Row, logP0: Row): number {
  return logSoftmax(x).reduce((sum, logP, v) => sum + Math.exp(logP) * (logP - logP0[v]!), 0);
}

export function klGradient(x: Row, logP0: Row): Float64Array {
  const total = kl(x, logP0);
  return logSoftmax(x).map((logP, v) => Math.exp(logP) * (logP - logP0[v]! - total));
}
