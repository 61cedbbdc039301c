// Adds rows up at their places: the gradient of gather_rows by its input.
//
//   dx_n = Σ_{i: index_i = n} dy_i,   only rows n that occur in index are written
//
// Shapes   dy [R, D]; index u32 [R], each below N; dx [N, D], zeros before.
// Work     a workgroup each row of dy: its threads look for the same index elsewhere, then copy.
//          The first row of an index that repeats sums for all of them, in order, so that the
//          result is the same every time. Grids beyond 65,535 groups are folded.
// Cost     8 R D bytes and R² reads of index, from cache.
// Test     test/rows.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

var<workgroup> seen: array<u32, WG>; // by each thread: 1 the index before this row, 2 after it

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let place = index[row];
  var mine = 0u;
  for (var r = thread; r < params.rows; r += WG) {
    if (index[r] == place && r != row) { mine |= select(2u, 1u, r < row); }
  }
  seen[thread] = mine;
  workgroupBarrier();
  var all = 0u;
  for (var t = 0u; t < WG; t++) { all |= seen[t]; }
  if ((all & 1u) > 0u) { return; }

  // dx_n = Σ_{i: index_i = n} dy_i
  let end = select(row + 1u, params.rows, all > 0u);
  for (var column = thread; column < params.d; column += WG) {
    var sum = 0.0;
    for (var r = row; r < end; r++) {
      if (index[r] == place) { sum += dy[r * params.d + column]; }
    }
    dx[place * params.d + column] = sum;
  }
}
