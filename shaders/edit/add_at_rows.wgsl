// Adds to chosen rows the vector of the request that each belongs to, in place.
//
//   y_r(j) += δ_request(j)   for j < m
//
// Shapes   y [T, D], delta [n, D], rows u32 [m], all different; owners u32 [m], rows of delta.
// Work     one thread a coordinate of a chosen row.
// Cost     12 m D bytes, m D flops.
// Source   kmeng01/rome `compute_v`, the hook on the MLP output.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { m: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> delta: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> owners: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.m * params.d) { return; }
  let j = i / params.d;
  let column = i % params.d;
  y[rows[j] * params.d + column] += delta[owners[j] * params.d + column];
}
