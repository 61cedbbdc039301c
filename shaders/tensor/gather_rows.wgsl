// Picks rows of a matrix.
//
//   y_i = x[index_i]
//
// Shapes  x [N, D]; index u32 [R], each below N; y [R, D].
// Work    one thread an element of y; grids beyond 65,535 groups are folded to two dimensions.
// Cost    8 R D bytes.
// Test    test/rows.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.rows * params.d) { return; }
  y[i] = x[index[i / params.d] * params.d + i % params.d];
}
