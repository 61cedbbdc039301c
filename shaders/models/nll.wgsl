// Negative log-likelihood of one target in each row of logits.
//
//   y_r = l_r + m_r - x_r,target
//
// Shapes  targets u32 [rows], each below V; y [rows]; logits x [rows, V] and logsumexp m, l
//         [rows, 2], or more rows than that.
// Work    one thread a row; grids beyond 65,535 groups are folded to two dimensions.
// Cost    16 rows bytes.
// Test    test/losses.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, v: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = id.y * (groups.x * WG) + id.x;
  if (row >= params.rows) { return; }
  y[row] = logsumexp[row].y + (logsumexp[row].x - logits[row * params.v + targets[row]]);
}
