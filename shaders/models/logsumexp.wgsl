// Log of the sum of exponentials of each row of logits: what turns them into log-probabilities.
//
//   ln Σ_v exp(x_rv) = m_r + l_r,   m_r = max_v x_rv,   l_r = ln Σ_v exp(x_rv - m_r)
//
// Shapes   logits x [rows, V]; y [rows, 2] = m, l.
// Work     one workgroup a row; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     4 rows V bytes (the second read comes from cache), 4 rows V flops.
// Numerics no exponential exceeds 1. Two parts, since logits of GPT-2 lie near -100 and their sum
//          would lose digits: ln p = (x - m) - l. Every loss reads these, so that equal logits give
//          bitwise equal log-probabilities.
// Test     test/losses.test.ts

override WG: u32 = 128u;

struct Params { rows: u32, v: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2f>;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) j: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let start = row * params.v;

  // m = max_v x_v; every thread begins with an element that exists
  var top = logits[start];
  for (var c = j; c < params.v; c += WG) { top = max(top, logits[start + c]); }
  partial[j] = top;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] = max(partial[j], partial[j + half]); }
    workgroupBarrier();
  }
  top = partial[0];
  workgroupBarrier();

  // Σ_v exp(x_v - m)
  var sum = 0.0;
  for (var c = j; c < params.v; c += WG) { sum += exp(logits[start + c] - top); }
  partial[j] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] += partial[j + half]; }
    workgroupBarrier();
  }
  if (j == 0u) { y[row] = vec2f(top, log(partial[0])); }
}
