// A block of columns from one matrix into another.
//
//   y[r, y_at + c] = x[r, x_at + c],   c = 0 … columns − 1
//
// Shapes  x [R, x_stride], y [R, y_stride].
// Work    one thread a number.
// Cost    8 R columns bytes.
// Test    test/unembed.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, columns: u32, x_stride: u32, x_at: u32, y_stride: u32, y_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.rows * params.columns) { return; }
  let r = i / params.columns;
  let c = i % params.columns;
  y[r * params.y_stride + params.y_at + c] = x[r * params.x_stride + params.x_at + c];
}
