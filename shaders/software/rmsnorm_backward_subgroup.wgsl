// Gradient of root mean square normalisation by its input: a subgroup for each row or head.
//
//   dx = 1/σ (g - x̂ mean(g ⊙ x̂)),   g = dy ⊙ weight,   x̂ = x/σ,   σ = √(mean(x²) + ε)
//
// What changed  No workgroup memory and no barriers, which software adapters pay dearly; four
//          columns a load.
// Shapes   as in rmsnorm_backward_1, all of it in multiples of 4.
// Work     one subgroup a stretch; lane j takes the vec4s j, j + WG, ...
// Cost     as rmsnorm_backward_1: 12 rows parts D bytes from memory.
// Test     test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 8u; // the adapter's subgroup size

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(WG)
fn main(
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = group.y * groups.x + group.x;
  if (i >= params.rows * params.parts) { return; }
  let d4 = params.d / 4u;
  let part = params.first + i % params.parts * params.step;
  let start = (i / params.parts * params.row + part) / 4u;

  // mean(x²),   mean(g ⊙ x)
  var sums = mat2x4f();
  for (var c = lane; c < d4; c += WG) {
    let x4 = x[start + c];
    sums += mat2x4f(x4 * x4, x4 * dy[start + c] * weight[c]);
  }
  let mean = subgroupAdd(vec4f(1.0) * sums) / f32(params.d);
  let inverse = 1.0 / sqrt(mean.x + params.eps);

  // dx = 1/σ (g - x̂ mean(g ⊙ x̂))
  for (var c = lane; c < d4; c += WG) {
    let normal = x[start + c] * inverse;
    dx[start + c] = inverse * (dy[start + c] * weight[c] - normal * (mean.y * inverse));
  }
}
