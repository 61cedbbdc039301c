// Rows of −L out of lower panels, without the blocks on the diagonal: what substitution adds.
//
//   y_ij = −L_(row + i)j   for 64 floor(j / 64) + 64 ≤ row + i,   else 0
//
// Shapes   l: panels first … end − 1 of n lower panels (src/edit/panels.ts); y [rows, cols], of
//          which the columns in these panels; its rows are those of L from `row` on, a multiple
//          of 64.
// Work     one thread an element.
// Cost     8 bytes an element.
// Test     test/mass-update.test.ts

override WG: u32 = 64u;

struct Params { n: u32, first: u32, end: u32, row: u32, rows: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> l: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let e = id.y * (groups.x * WG) + id.x;
  let width = min(params.cols, 64u * params.end) - 64u * params.first;
  if (e >= params.rows * width) { return; }
  let i = params.row + e / width;
  let j = 64u * params.first + e % width;
  let p = j / 64u;
  var value = 0.0;
  if (p < i / 64u) {
    value = -l[(panel_row(p) - panel_row(params.first) + i - 64u * p) * 64u + j % 64u];
  }
  y[e / width * params.cols + j] = value;
}
