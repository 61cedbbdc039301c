// Gradient of layer normalisation by its input: a subgroup for each row.
//
//   dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂)),   g = dy ⊙ weight,   x̂ = (x - μ)/σ,   σ = √(var + ε)
//
// What changed  No workgroup memory and no barriers, which software adapters pay dearly; four
//          columns a load.
// Shapes   as in layernorm_backward_1 (RMS as well), all of it in multiples of 4.
// Work     one subgroup a stretch; lane j takes the vec4s j, j + WG, ...
// Cost     as layernorm_backward_1.
// Numerics as in layernorm_1: variance in a second pass.
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 8u; // the adapter's subgroup size
override RMS: u32 = 0u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;

const ONES = vec4f(1.0);

@compute @workgroup_size(WG)
fn main(
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = group.y * groups.x + group.x;
  if (i >= params.rows * params.parts) { return; }
  let d = f32(params.d);
  let d4 = params.d / 4u;
  let stretch = params.first + i % params.parts * params.step;
  let start = (i / params.parts * params.row + stretch) / 4u;

  // μ = 1/D Σ x,   mean(g) = 1/D Σ dy weight
  var sums = mat2x4f();
  var mean = vec2f();
  if (RMS == 0u) {
    for (var c = lane; c < d4; c += WG) {
      sums += mat2x4f(x[start + c], dy[start + c] * weight[c]);
    }
    mean = subgroupAdd(ONES * sums) / d;
  }

  // var = 1/D Σ (x - μ)²,   mean(g ⊙ (x - μ)) = 1/D Σ g (x - μ)
  sums = mat2x4f();
  for (var c = lane; c < d4; c += WG) {
    let centred = x[start + c] - mean.x;
    sums += mat2x4f(centred * centred, centred * dy[start + c] * weight[c]);
  }
  let second = subgroupAdd(ONES * sums) / d;
  let inverse = 1.0 / sqrt(second.x + params.eps);

  // dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂))
  for (var c = lane; c < d4; c += WG) {
    let normal = (x[start + c] - mean.x) * inverse;
    let g = dy[start + c] * weight[c];
    dx[start + c] = inverse * (g - mean.y - normal * second.y * inverse);
  }
}
