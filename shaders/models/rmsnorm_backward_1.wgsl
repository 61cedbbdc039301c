// Gradient of root mean square normalisation by its input.
//
//   dx = 1/σ (g - x̂ mean(g ⊙ x̂)),   g = dy ⊙ weight,   x̂ = x/σ,   σ = √(mean(x²) + ε)
//
// Shapes   x, dy, dx [rows, row] with stretches of D numbers as in rmsnorm_1; weight [D].
// Work     one workgroup a stretch; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     12 rows parts D bytes (the other reads come from cache), 10 flops a number.
// Source   derivative of the formula in rmsnorm_1.wgsl.
// Test     test/rmsnorm.test.ts

override WG: u32 = 64u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

var<workgroup> partial: array<vec2f, WG>;

// Σ over the workgroup, the same for all its threads
fn total(value: vec2f, j: u32) -> vec2f {
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

  // mean(x²),   mean(g ⊙ x)
  var sums = vec2f();
  for (var c = j; c < d; c += WG) {
    sums += x[start + c] * vec2f(x[start + c], dy[start + c] * weight[c]);
  }
  let mean = total(sums, j) / f32(d);
  let inverse = 1.0 / sqrt(mean.x + params.eps);

  // dx = 1/σ (g - x̂ mean(g ⊙ x̂))
  for (var c = j; c < d; c += WG) {
    let normal = x[start + c] * inverse;
    dx[start + c] = inverse * (dy[start + c] * weight[c] - normal * (mean.y * inverse));
  }
}
