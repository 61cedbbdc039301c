// The transpose of a matrix, times a number.
//
//   y_ji = factor · x_ij
//
// Shapes   x [rows, cols], y [cols, rows].
// Work     one thread an element of y; neighbours write side by side.
// Cost     8 bytes an element.
// Test     test/mass-update.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.rows * params.cols) { return; }
  y[i] = params.factor * x[(i % params.rows) * params.cols + i / params.rows];
}
