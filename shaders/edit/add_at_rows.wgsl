// Adds one vector at chosen rows, in place.
//
//   y_r += δ   for r in rows
//
// Shapes   y [T, D], delta [D], rows u32 [n], all different.
// Work     one thread a coordinate of a chosen row.
// Cost     8 n D bytes, n D flops.
// Source   kmeng01/rome `compute_v`, the hook on the MLP output.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> delta: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n * params.d) { return; }
  let column = i % params.d;
  y[rows[i / params.d] * params.d + column] += delta[column];
}
