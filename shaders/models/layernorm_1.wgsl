// Layer normalisation of rows; with RMS, root mean square normalisation of rows or heads.
//
//   y = (x - μ) / √(σ² + ε) ⊙ weight + bias,   μ = mean(x),   σ² = mean((x - μ)²)
//   RMS: μ and bias are 0
//
// Shapes   x, y [rows, row], in which `parts` stretches of D numbers begin at column `first`, each
//          `step` columns after the one before; y is written there alone. A whole row is one
//          stretch of D = row. weight, bias [D].
// Work     one workgroup a stretch; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     8 rows parts D bytes (the other reads come from cache), 8 flops a number.
// Numerics variance in a second pass over x - μ: E[x²] - μ² loses its digits far from zero.
// Source   Ba et al. 2016, eq. 3; openai/gpt-2 `norm` in src/model.py. RMS: Zhang and Sennrich
//          2019, eq. 4; by head: Yang et al. 2025 (Qwen 3).
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

override WG: u32 = 64u;
override RMS: u32 = 0u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WG>;

// Σ over the workgroup, the same for all its threads
fn total(value: f32, j: u32) -> f32 {
  partial[j] = value;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) { partial[j] += partial[j + half]; }
    workgroupBarrier();
  }
  let sum = partial[0];
  workgroupBarrier(); // before the next total overwrites it
  return sum;
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

  // μ = 1/D Σ x
  var mean = 0.0;
  if (RMS == 0u) {
    var sum = 0.0;
    for (var c = j; c < d; c += WG) { sum += x[start + c]; }
    mean = total(sum, j) / f32(d);
  }

  // σ² = 1/D Σ (x - μ)²
  var squares = 0.0;
  for (var c = j; c < d; c += WG) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let inverse = 1.0 / sqrt(total(squares, j) / f32(d) + params.eps);

  // y = (x - μ) / √(σ² + ε) ⊙ weight + bias
  for (var c = j; c < d; c += WG) {
    let scaled = (x[start + c] - mean) * inverse * weight[c];
    if (RMS == 0u) { y[start + c] = scaled + bias[c]; } else { y[start + c] = scaled; }
  }
}
