// Gradient by the logits of a weighted sum of NLLs plus KL divergences, one a request.
//
//   dx_rv = weight_r (p_rv - [v = target_r])              rows that have a target
//   dx_rv = p_rv (factor (ln p_rv - ln p0_v) - kl)        the rows after them; kl has its factor
//
// Shapes  logits x, dlogits dx [rows, V]; logsumexp [rows, 2] as in logsumexp.wgsl; targets u32
//         and weights [t], t ≤ rows. Of the other rows' g-th, kl [a] is the g-th, and its row of
//         log_p0 [n, V] the first of the g-th four of requests u32 [a, 4].
// Work    one thread an element: x along V, y along the rows.
// Cost    8 rows V bytes, 4 rows V flops.
// Source  derivatives of nll.wgsl and kl_divergence.wgsl.
// Test    test/losses.test.ts

override WG: u32 = 256u;

struct Params { rows: u32, v: u32, targets: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read> log_p0: array<f32>;
@group(0) @binding(6) var<storage, read> kl: array<f32>;
@group(0) @binding(7) var<storage, read> requests: array<vec4u>;
@group(0) @binding(8) var<storage, read_write> dlogits: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let v = id.x;
  let row = id.y;
  if (v >= params.v || row >= params.rows) { return; }
  let i = row * params.v + v;
  let log_p = logits[i] - logsumexp[row].x - logsumexp[row].y;
  let p = exp(log_p);
  if (row < params.targets) {
    dlogits[i] = weights[row] * (p - select(0.0, 1.0, v == targets[row]));
  } else {
    let g = row - params.targets;
    let log_before = log_p0[requests[g].x * params.v + v];
    dlogits[i] = p * (params.factor * (log_p - log_before) - kl[g]);
  }
}
