// Gradient of layer normalisation by its input; with RMS, of root mean square normalisation.
//
//   dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂)),   g = dy ⊙ weight,   x̂ = (x - μ)/σ,   σ = √(var + ε)
//   RMS: μ is 0, and mean(g) is not taken off
//
// Shapes   x, dy, dx [rows, row] with stretches of D numbers as in layernorm_1; weight [D].
// Work     one workgroup a stretch; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     12 rows parts D bytes (the other reads come from cache), 15 flops a number.
// Numerics μ and σ are computed again from x, in two passes as in the forward kernel.
// Source   derivative of the formula in layernorm_1.wgsl.
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

override WG: u32 = 64u;
override RMS: u32 = 0u;

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

  // μ = 1/D Σ x,   mean(g) = 1/D Σ dy weight
  var sums = vec2f();
  var mean = vec2f();
  if (RMS == 0u) {
    for (var c = j; c < d; c += WG) { sums += vec2f(x[start + c], dy[start + c] * weight[c]); }
    mean = total(sums, j) / f32(d);
  }

  // var = 1/D Σ (x - μ)²,   mean(g ⊙ (x - μ)) = 1/D Σ g (x - μ)
  sums = vec2f();
  for (var c = j; c < d; c += WG) {
    let centred = x[start + c] - mean.x;
    sums += centred * vec2f(centred, dy[start + c] * weight[c]);
  }
  let second = total(sums, j) / f32(d);
  let inverse = 1.0 / sqrt(second.x + params.eps);

  // dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂))
  for (var c = j; c < d; c += WG) {
    let normal = (x[start + c] - mean.x) * inverse;
    let g = dy[start + c] * weight[c];
    dx[start + c] = inverse * (g - mean.y - normal * second.y * inverse);
  }
}
