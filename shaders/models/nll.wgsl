// Negative log-likelihood of targets, each in the row of logits that it names.
//
//   y_i = l + (m - x_row(i),target(i)),   m and l of row(i): ln Σ_v exp(x_v) = m + l
//
// Two objects that compete after one prompt share its row of logits, which is computed once.
//
// Shapes  logits x [R, V]; logsumexp m, l [R, 2]; rows u32 [n], each below R; targets u32 [n], each
//         below V; y [n].
// Work    one thread a target; grids beyond 65,535 groups are folded to two dimensions.
// Cost    20 n bytes.
// Test    test/losses.test.ts, test/pick.test.ts

override WG: u32 = 64u;

struct Params { n: u32, v: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read> targets: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  let sum = logsumexp[rows[i]];
  y[i] = sum.y + (sum.x - logits[rows[i] * params.v + targets[i]]);
}
