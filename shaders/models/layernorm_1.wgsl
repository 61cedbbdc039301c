// Layer normalisation of rows.
//
//   y = (x - μ) / √(σ² + ε) ⊙ weight + bias,   μ = mean(x),   σ² = mean((x - μ)²)
//
// Shapes   x, y [rows, D]; weight, bias [D].
// Work     one workgroup a row; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     8 rows D bytes (two of the three reads of a row come from cache), 8 rows D flops.
// Numerics variance in a second pass over x - μ: E[x²] - μ² loses its digits far from zero.
// Source   Ba et al. 2016, eq. 3; openai/gpt-2 `norm` in src/model.py.
// Test     test/layernorm.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, d: u32, eps: f32 }

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
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let d = params.d;
  let start = row * d;

  // μ = 1/D Σ x
  var sum = 0.0;
  for (var c = j; c < d; c += WG) { sum += x[start + c]; }
  let mean = total(sum, j) / f32(d);

  // σ² = 1/D Σ (x - μ)²
  var squares = 0.0;
  for (var c = j; c < d; c += WG) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let inverse = 1.0 / sqrt(total(squares, j) / f32(d) + params.eps);

  // y = (x - μ) / √(σ² + ε) ⊙ weight + bias
  for (var c = j; c < d; c += WG) {
    y[start + c] = (x[start + c] - mean) * inverse * weight[c] + bias[c];
  }
}
