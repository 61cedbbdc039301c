/** Root mean square normalisation in float64: x / √(mean(x²) + ε) ⊙ weight, a row at a time. */
export function rmsnorm(x: ArrayLike<number>, weight: ArrayLike<number>, eps: number): Float64Array {
  const d = weight.length;
  return Float64Array.from(x, (value, i) => (value / deviation(x, i - (i % d), d, eps)) * weight[i % d]!);
}

/** dL/dx_c = Σ_i dy_i w_i ∂(x_i/σ)/∂x_c,   ∂(x_i/σ)/∂x_c = [i = c]/σ − x_i x_c / (d σ³): the Jacobian, element by element. */
export function rmsnormBackward(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  dy: ArrayLike<number>,
  eps: number,
): Float64Array {
  const d = weight.length;
  const dx = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += d) {
    const sigma = deviation(x, start, d, eps);
    let along = 0;
    for (let i = 0; i < d; i += 1) along += dy[start + i]! * weight[i]! * x[start + i]!;
    for (let c = 0; c < d; c += 1)
      dx[start + c] = (dy[start + c]! * weight[c]!) / sigma - (along * x[start + c]!) / (d * sigma ** 3);
  }
  return dx;
}

/** √(mean(x²) + ε) of one row; computed anew for every element above, which is slow and plain. */
function deviation(x: ArrayLike<number>, start: number, d: number, eps: number): number {
  let sum = 0;
  for (let c = 0; c < d; c += 1) sum += x[start + c]! ** 2;
  return Math.sqrt(sum / d + eps);
}
