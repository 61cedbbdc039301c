// Adds rows up at their places: the gradient of gather_rows by its input.
//
//   dx_n = Σ_{i: index_i = n} dy_i,   only rows n that occur in index are written
//
// Shapes   dy [R, D]; index u32 [R], each below N; dx [N, D], zeros before.
// Work     one thread an element of dy. The first row of an index that repeats sums for all of
//          them, in order, so that the result is the same every time. Grids beyond 65,535 groups
//          are folded to two dimensions.
// Cost     8 R D bytes and R² D reads of index, from cache.
// Test     test/rows.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.rows * params.d) { return; }
  let row = i / params.d;
  let column = i % params.d;
  for (var r = 0u; r < row; r++) { if (index[r] == index[row]) { return; } }

  // dx_n = Σ_{i: index_i = n} dy_i
  var sum = 0.0;
  for (var r = row; r < params.rows; r++) {
    if (index[r] == index[row]) { sum += dy[r * params.d + column]; }
  }
  dx[index[row] * params.d + column] = sum;
}
