// Copy: the definition. It computes nothing: what it reaches is the adapter's memory rate.
//
//   yᵢ = xᵢ
//
// Shapes  x, y [4 N].
// Work    one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost    8 bytes an element.
// Test    test/copy.test.ts

override WG: u32 = 64u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  y[i] = x[i];
}
