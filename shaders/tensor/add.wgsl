// Element-wise sum.
//
//   y = a + b
//
// Shapes  a, b, y [N].
// Work    one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost    12 N bytes, N flops.
// Test    test/elementwise.test.ts

override WG: u32 = 64u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  y[i] = a[i] + b[i];
}
