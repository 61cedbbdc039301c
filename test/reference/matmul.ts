/** c = a·b (b [K, N]) or a·bᵀ (b [N, K]) in float64, from the definition; + bias, + what c held. */
export function matmulReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  [m, k, n]: readonly [number, number, number],
  {
    transposeB = false,
    bias,
    before,
  }: { transposeB?: boolean; bias?: ArrayLike<number>; before?: ArrayLike<number> } = {},
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i += 1) {
    for (let j = 0; j < n; j += 1) {
      let sum = (bias?.[j] ?? 0) + (before?.[i * n + j] ?? 0);
      for (let p = 0; p < k; p += 1) sum += a[i * k + p]! * (transposeB ? b[j * k + p]! : b[p * n + j]!);
      c[i * n + j] = sum;
    }
  }
  return c;
}
