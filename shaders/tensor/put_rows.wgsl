// Puts rows of one matrix, from some column on, in the place of rows of another, or adds them.
//
//   y[rows_i, c] = x[sources_i, first + c],   with ADD  y[rows_i, c] += x[sources_i, first + c]
//
// Shapes  x [N, first + D]; y [T, D]; rows u32 [n], all different, below T; sources u32 [n], below
//         N.
// Work    one thread a coordinate of y; grids beyond 65,535 groups are folded to two dimensions.
// Cost    8 n D bytes.
// Source  with ADD: kmeng01/rome `compute_v`, the hook on the MLP output that adds δ.
// Test    test/rows.test.ts, test/edit-kernels.test.ts

override WG: u32 = 64u;
override ADD: u32 = 0u;

struct Params { n: u32, d: u32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let thread = id.y * (groups.x * WG) + id.x;
  if (thread >= params.n * params.d) { return; }
  let i = thread / params.d;
  let column = thread % params.d;
  let start = sources[i] * (params.first + params.d) + params.first;
  let at = rows[i] * params.d + column;
  if (ADD == 1u) { y[at] += x[start + column]; } else { y[at] = x[start + column]; }
}
