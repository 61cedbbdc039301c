/** GELU (tanh form) in float64. */
const C = Math.sqrt(2 / Math.PI);

export function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(C * (x + 0.044715 * x ** 3)));
}

/** dy/dx, by the product and chain rules on the formula above. */
export function geluSlope(x: number): number {
  const t = Math.tanh(C * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * C * (1 + 3 * 0.044715 * x * x);
}
