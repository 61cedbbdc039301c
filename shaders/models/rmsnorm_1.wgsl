// Root mean square normalisation, of whole rows or of some heads of each row.
//
//   y = x / √(mean(x²) + ε) ⊙ weight
//
// Shapes   x, y [rows, row], in which `parts` stretches of D numbers begin at column `first`, each
//          `step` columns after the one before; y is written there alone. A whole row is one
//          stretch of D = row. weight [D].
// Work     one workgroup a stretch; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     8 rows parts D bytes (one of the two reads comes from cache), 4 flops a number.
// Source   Zhang and Sennrich 2019, eq. 4; by head: Yang et al. 2025 (Qwen 3).
// Test     test/rmsnorm.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WG>;

// Σ over the workgroup, the same for all its threads
fn total(value: f32, j: u32) -> f32 {
  partial[j] = value;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] += partial[j + half]; }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) j: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = group.y * groups.x + group.x;
  if (i >= params.rows * params.parts) { return; }
  let d = params.d;
  let start = i / params.parts * params.row + params.first + i % params.parts * params.step;

  // mean(x²)
  var squares = 0.0;
  for (var c = j; c < d; c += WG) { squares += x[start + c] * x[start + c]; }
  let inverse = 1.0 / sqrt(total(squares, j) / f32(d) + params.eps);

  // y = x / √(mean(x²) + ε) ⊙ weight
  for (var c = j; c < d; c += WG) { y[start + c] = x[start + c] * inverse * weight[c]; }
}
