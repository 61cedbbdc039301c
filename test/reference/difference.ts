/** Central differences: the slope of a scalar function along every coordinate, in float64. */
export function centralDifference(
  f: (x: Float64Array) => number,
  at: ArrayLike<number>,
  step = 1e-5,
): Float64Array {
  const x = Float64Array.from(at);
  return x.map((value, i) => {
    x[i] = value + step;
    const above = f(x);
    x[i] = value - step;
    const below = f(x);
    x[i] = value;
    return (above - below) / (2 * step);
  });
}

/** Σ a_i b_i: turns a vector-valued function into a scalar one whose gradient is b times its Jacobian. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < b.length; i += 1) sum += a[i]! * b[i]!;
  return sum;
}
