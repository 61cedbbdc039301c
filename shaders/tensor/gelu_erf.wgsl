// GELU by the error function ("gelu"), the non-linearity of GPT-NeoX.
//
//   y = x Φ(x),   Φ(x) = ½ (1 + erf(x/√2)) = ½ erfc(-x/√2)
//   ½ erfc(t) = exp(-t²) s p(u)  for t >= 0,   s = 1/(t + 2),   u = (t - 2) s
//
// Shapes   x, y [N], N a multiple of 4.
// Work     one thread for four elements; grids beyond 65,535 groups are folded to two dimensions.
// Cost     8 N bytes, about 40 N flops.
// Numerics WGSL has no erf. p has degree 9 and lies within 2e-8 of exp(t²) erfc(t) / 2s, relative,
//          at 0 <= t <= 10 (least squares at 300 Chebyshev nodes, reweighted to a flat error); with
//          float32's roundings 2e-7. So do left tails, but for exp's own error: 1 - ½ erfc is
//          taken on the right alone, and nothing cancels. Beyond x = ±14, Φ is 0 or 1.
// Source   Hendrycks and Gimpel 2016, section 2.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

// Φ(x) for |x| <= 14
fn normal_distribution(x: vec4f) -> vec4f {
  let t = abs(x) * 0.70710678;
  let s = 1.0 / (t + 2.0);
  let u = (t - 2.0) * s;
  var p = -2.3992154e-5 * u - 2.6553727e-4;
  p = (p * u - 3.6300495e-4) * u + 1.5222639e-3;
  p = (p * u + 3.2176983e-3) * u - 1.07516227e-2;
  p = (p * u - 1.82179809e-2) * u + 0.13973577;
  p = (p * u - 0.34358045) * u + 0.51079136;
  let tail = exp(-0.5 * x * x) * (s * p);
  return select(tail, 1.0 - tail, x > vec4f());
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (4u * i >= params.n) { return; }
  let c = clamp(x[i], vec4f(-14.0), vec4f(14.0));
  y[i] = select(x[i], vec4f(), x[i] < vec4f(-14.0)) * normal_distribution(c); // a NaN stays one
}
