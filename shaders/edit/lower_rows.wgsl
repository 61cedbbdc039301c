// Rows of −L out of lower panels, without the blocks on the diagonal: what substitution adds.
//
//   y_ij = −L_(first + i)j   for 64 floor(j / 64) + 64 ≤ first + i,   else 0
//
// Shapes   l: lower panels, n of them (src/edit/panels.ts); y [rows, cols], rows from `first` on,
//          a multiple of 64.
// Work     one thread an element.
// Cost     8 bytes an element.
// Test     test/mass-update.test.ts

override WG: u32 = 64u;

struct Params { n: u32, first: u32, rows: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> l: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let e = id.y * (groups.x * WG) + id.x;
  if (e >= params.rows * params.cols) { return; }
  let i = params.first + e / params.cols;
  let j = e % params.cols;
  let p = j / 64u;
  var value = 0.0;
  if (p < i / 64u) {
    value = -l[(64u * (p * params.n - (p * p - p) / 2u) + i - 64u * p) * 64u + j % 64u];
  }
  y[e] = value;
}
