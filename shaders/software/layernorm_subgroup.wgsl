// Layer normalisation of rows: a subgroup for each.
//
//   y = (x - μ) / √(σ² + ε) ⊙ weight + bias,   μ = mean(x),   σ² = mean((x - μ)²)
//
// What changed  No workgroup memory and no barriers, which software adapters pay dearly; four
//          columns a load.
// Shapes   as in layernorm_1 (RMS as well), all of it in multiples of 4.
// Work     one subgroup a stretch; lane j takes the vec4s j, j + WG, ...
// Cost     as layernorm_1.
// Numerics as in layernorm_1: variance in a second pass.
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 8u; // the adapter's subgroup size
override RMS: u32 = 0u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

const ONES = vec4f(1.0);

@compute @workgroup_size(WG)
fn main(
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = group.y * groups.x + group.x;
  if (i >= params.rows * params.parts) { return; }
  let d4 = params.d / 4u;
  let stretch = params.first + i % params.parts * params.step;
  let start = (i / params.parts * params.row + stretch) / 4u;

  // μ = 1/D Σ x
  var mean = 0.0;
  if (RMS == 0u) {
    var sums = vec4f();
    for (var c = lane; c < d4; c += WG) { sums += x[start + c]; }
    mean = subgroupAdd(dot(sums, ONES)) / f32(params.d);
  }

  // σ² = 1/D Σ (x - μ)²
  var squares = vec4f();
  for (var c = lane; c < d4; c += WG) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let inverse = 1.0 / sqrt(subgroupAdd(dot(squares, ONES)) / f32(params.d) + params.eps);

  // y = (x - μ) / √(σ² + ε) ⊙ weight + bias
  for (var c = lane; c < d4; c += WG) {
    let scaled = (x[start + c] - mean) * inverse * weight[c];
    if (RMS == 0u) { y[start + c] = scaled + bias[c]; } else { y[start + c] = scaled; }
  }
}
