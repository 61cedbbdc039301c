// Log-probabilities of one row of logits.
//
//   y_v = x_v - m - l
//
// Shapes  logits x [rows, V], of which `row` is read (an odd V puts rows at offsets that cannot be
//         bound); logsumexp m, l [rows, 2]; y [V].
// Work    one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost    8 V bytes, V flops.
// Test    test/losses.test.ts

override WG: u32 = 64u;

struct Params { v: u32, row: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.v) { return; }
  let parts = logsumexp[params.row];
  y[i] = logits[params.row * params.v + i] - parts.x - parts.y;
}
