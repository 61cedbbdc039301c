/** Layer normalisation of rows in float64. */
export type Rows = ArrayLike<number>;

export function layernorm(x: Rows, weight: Rows, bias: Rows, eps: number): Float64Array {
  const d = weight.length;
  return Float64Array.from(x, (value, i) => {
    const { mean, deviation } = moments(x, i - (i % d), d, eps);
    return ((value - mean) / deviation) * weight[i % d]! + bias[i % d]!;
  });
}

/** dL/dx = 1/σ (g − mean(g) − x̂ mean(g x̂)),   g = dy ⊙ weight,   x̂ = (x − μ)/σ. */
export function layernormBackward(x: Rows, weight: Rows, dy: Rows, eps: number): Float64Array {
  const d = weight.length;
  const dx = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += d) {
    const { mean, deviation } = moments(x, start, d, eps);
    const normal = Float64Array.from({ length: d }, (_, c) => (x[start + c]! - mean) / deviation);
    const g = Float64Array.from({ length: d }, (_, c) => dy[start + c]! * weight[c]!);
    const meanG = g.reduce((a, b) => a + b, 0) / d;
    const meanGX = g.reduce((a, b, c) => a + b * normal[c]!, 0) / d;
    for (let c = 0; c < d; c += 1) dx[start + c] = (g[c]! - meanG - normal[c]! * meanGX) / deviation;
  }
  return dx;
}

/** μ and √(σ² + ε) of one row; recomputed for every element above, which is slow and plain. */
function moments(x: Rows, start: number, d: number, eps: number): { mean: number; deviation: number } {
  let mean = 0;
  for (let c = 0; c < d; c += 1) mean += x[start + c]! / d;
  let variance = 0;
  for (let c = 0; c < d; c += 1) variance += (x[start + c]! - mean) ** 2 / d;
  return { mean, deviation: Math.sqrt(variance + eps) };
}
