/** The non-linearities of MLPs in float64. */
/** GELU in its tanh form is made with √(2/π). */
const C = Math.sqrt(2 / Math.PI);

export function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(C * (x + 0.044715 * x ** 3)));
}

/** dy/dx, by the product and chain rules on the formula above. */
export function geluSlope(x: number): number {
  const t = Math.tanh(C * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * C * (1 + 3 * 0.044715 * x * x);
}

/**
 * erf(z) = 2/√π Σ_n (−1)ⁿ z²ⁿ⁺¹ / (n! (2n + 1)) for small z; erfc by its continued fraction beyond, which loses no digit of
 * a tail: erfc(z) = exp(−z²)/√π · 1/(z + ½/(z + 1/(z + 3/2/(z + ...)))).
 */
function erfc(z: number): number {
  if (z < 0) return 2 - erfc(-z);
  if (z < 2) {
    let [term, sum] = [z, z];
    for (let n = 1; n < 60; n += 1) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = z;
  for (let n = 120; n > 0; n -= 1) fraction = z + n / 2 / fraction;
  return Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction;
}

/** x Φ(x) */
export function geluErf(x: number): number {
  return (x / 2) * erfc(-x / Math.SQRT2);
}

/** Φ(x) + x φ(x) */
export function geluErfSlope(x: number): number {
  return erfc(-x / Math.SQRT2) / 2 + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** Of gate | up [T, 2F]: gate / (1 + exp(−gate)) · up. */
export function siluGate(gateUp: ArrayLike<number>, F: number): Float64Array {
  return Float64Array.from({ length: gateUp.length / 2 }, (_, i) => {
    const at = Math.floor(i / F) * 2 * F + (i % F);
    return (gateUp[at]! / (1 + Math.exp(-gateUp[at]!))) * gateUp[at + F]!;
  });
}

/** dL/d(gate | up) from dL/dy, by the product and quotient rules on the formula above. */
export function siluGateBackward(gateUp: ArrayLike<number>, F: number, dy: ArrayLike<number>): Float64Array {
  const d = new Float64Array(gateUp.length);
  for (let i = 0; i < dy.length; i += 1) {
    const at = Math.floor(i / F) * 2 * F + (i % F);
    const [gate, up] = [gateUp[at]!, gateUp[at + F]!];
    const divisor = 1 + Math.exp(-gate);
    d[at] = dy[i]! * up * (1 / divisor + (gate * Math.exp(-gate)) / divisor ** 2);
    d[at + F] = (dy[i]! * gate) / divisor;
  }
  return d;
}
