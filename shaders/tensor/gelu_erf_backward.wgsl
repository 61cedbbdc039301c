// Gradient of GELU (by the error function) by its input.
//
//   dx = dy · (Φ(x) + x φ(x)),   φ(x) = exp(-x²/2) / √(2π)
//
// Shapes   x, dy, dx [N], N a multiple of 4.
// Work     one thread for four elements; grids beyond 65,535 groups are folded to two dimensions.
// Cost     12 N bytes, about 45 N flops.
// Numerics Φ as in gelu_erf.wgsl.
// Source   derivative of the formula in gelu_erf.wgsl.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

// Φ(x) + x φ(x) for |x| <= 14
fn slope(x: vec4f) -> vec4f {
  let t = abs(x) * 0.70710678;
  let s = 1.0 / (t + 2.0);
  let u = (t - 2.0) * s;
  var p = -2.3992154e-5 * u - 2.6553727e-4;
  p = (p * u - 3.6300495e-4) * u + 1.5222639e-3;
  p = (p * u + 3.2176983e-3) * u - 1.07516227e-2;
  p = (p * u - 1.82179809e-2) * u + 0.13973577;
  p = (p * u - 0.34358045) * u + 0.51079136;
  let e = exp(-0.5 * x * x);
  let tail = e * (s * p);
  return select(tail, 1.0 - tail, x > vec4f()) + 0.3989422804 * x * e;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (4u * i >= params.n) { return; }
  dx[i] = dy[i] * slope(clamp(x[i], vec4f(-14.0), vec4f(14.0)));
}
