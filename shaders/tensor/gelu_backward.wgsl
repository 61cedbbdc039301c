// Gradient of GELU (tanh form) by its input.
//
//   dx = dy · (g + x g (1 - g) 2z'),   g = 1 / (1 + exp(-2z)),   z' = √(2/π) (1 + 3 · 0.044715 x²)
//
// Shapes   x, dy, dx [N], N a multiple of 4.
// Work     one thread for four elements; grids beyond 65,535 groups are folded to two dimensions.
// Cost     12 N bytes, about 18 N flops.
// Numerics 1 - g = exp(-2z) g, without the cancellation; |x| <= 10 inside z as in gelu.wgsl.
// Source   derivative of the formula in gelu.wgsl.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

const TWICE_SQRT_2_OVER_PI = 1.5957691216057308;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (4u * i >= params.n) { return; }
  let c = clamp(x[i], vec4f(-10.0), vec4f(10.0));
  let twice_z = TWICE_SQRT_2_OVER_PI * (c + 0.044715 * c * c * c);
  let twice_z_slope = TWICE_SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * c * c);
  let e = exp(-twice_z);
  let g = 1.0 / (1.0 + e);
  dx[i] = dy[i] * (g + c * g * (e * g) * twice_z_slope);
}
