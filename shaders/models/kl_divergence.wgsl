// How far one row's distribution has moved from a stored one: KL(now || before).
//
//   kl = factor Σ_v p_v (ln p_v - ln p0_v),   ln p_v = x_v - m - l
//
// Shapes   logits x [rows, V], of which `row` is read; logsumexp m, l [rows, 2]; log_p0 [V];
//          y = kl [1].
// Work     one workgroup; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     8 V bytes, 5 V flops.
// Numerics exactly 0 for the very logits that log_p0 was made from, since each difference is 0.
// Source   kmeng01/rome `compute_v`: F.kl_div of logs, whose gradient flows through now's p.
// Test     test/losses.test.ts

override WG: u32 = 128u;

struct Params { v: u32, row: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexp: array<vec2f>;
@group(0) @binding(3) var<storage, read> log_p0: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) j: u32) {
  let parts = logsumexp[params.row];

  // Σ_v p_v (ln p_v - ln p0_v)
  var sum = 0.0;
  for (var c = j; c < params.v; c += WG) {
    let log_p = logits[params.row * params.v + c] - parts.x - parts.y;
    sum += exp(log_p) * (log_p - log_p0[c]);
  }
  partial[j] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] += partial[j + half]; }
    workgroupBarrier();
  }
  if (j == 0u) { y[0] = params.factor * partial[0]; }
}
