// How far the distributions of some rows have moved from stored ones: KL(now || before).
//
//   kl_g = factor Σ_v p_v (ln p_v - ln p0_v),   ln p_v = x_v - m - l,   x the row first + g
//
// Shapes   logits x [rows, V], of which those from `first` on are read; logsumexp m, l [rows, 2];
//          requests u32 [a, 4]: the first of each four is the row of log_p0 [n, V]; y = kl [a].
// Work     one workgroup a row; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     8 a V bytes, 5 a V flops.
// Numerics exactly 0 for the very logits that log_p0 was made from, since each difference is 0.
// Source   kmeng01/rome `compute_v`: F.kl_div of logs, whose gradient flows through now's p.
// Test     test/losses.test.ts

override WG: u32 = 128u;

struct Params { v: u32, first: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read> log_p0: array<f32>;
@group(0) @binding(4) var<storage, read> requests: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) j: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let row = params.first + group.x;
  let before = requests[group.x].x * params.v;
  let parts = logsumexp[row];

  // Σ_v p_v (ln p_v - ln p0_v)
  var sum = 0.0;
  for (var c = j; c < params.v; c += WG) {
    let log_p = logits[row * params.v + c] - parts.x - parts.y;
    sum += exp(log_p) * (log_p - log_p0[before + c]);
  }
  partial[j] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] += partial[j + half]; }
    workgroupBarrier();
  }
  if (j == 0u) { y[group.x] = params.factor * partial[0]; }
}
