// Root mean square normalisation, of whole rows or of some heads of each row: a subgroup for each.
//
//   y = x / √(mean(x²) + ε) ⊙ weight
//
// What changed  No workgroup memory and no barriers, which software adapters pay dearly; four
//          columns a load.
// Shapes   as in rmsnorm_1, all of it in multiples of 4.
// Work     one subgroup a stretch; lane j takes the vec4s j, j + WG, ...
// Cost     as rmsnorm_1: 8 rows parts D bytes from memory.
// Test     test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 8u; // the adapter's subgroup size

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

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

  // mean(x²)
  var squares = vec4f();
  for (var c = lane; c < d4; c += WG) { squares += x[start + c] * x[start + c]; }
  let mean = subgroupAdd(dot(squares, vec4f(1.0))) / f32(params.d);
  let inverse = 1.0 / sqrt(mean + params.eps);

  // y = x / √(mean(x²) + ε) ⊙ weight
  for (var c = lane; c < d4; c += WG) { y[start + c] = x[start + c] * inverse * weight[c]; }
}
