// Log-probabilities of some rows of logits.
//
//   y_rv = x_rv - m_r - l_r   from row `first` on
//
// Shapes  logits x [rows, V] (an odd V puts rows at offsets that cannot be bound, hence `first`);
//         logsumexp m, l [rows, 2]; y [n, V].
// Work    one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost    8 n V bytes, 2 n V flops.
// Test    test/losses.test.ts

override WG: u32 = 64u;

struct Params { n: u32, v: u32, first: u32 }

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
  if (i >= params.n * params.v) { return; }
  let parts = logsumexp[params.first + i / params.v];
  y[i] = logits[params.first * params.v + i] - parts.x - parts.y;
}
