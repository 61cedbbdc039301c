// Layer normalisation of rows for GPUs: subgroups add up, whatever their size.
//
//   y = (x - μ) / √(σ² + ε) ⊙ weight + bias,   μ = mean(x),   σ² = mean((x - μ)²)
//
// What changed  Four columns a load, and a sum takes two barriers instead of 2 + log₂ WG: a
//          subgroup adds its own values in registers, its first lane leaves the sum in workgroup
//          memory at its own place, zeros lie at the others, and every subgroup adds up all places.
//          So neither the size of subgroups nor which threads they hold matters.
// Shapes   as in layernorm_1 (RMS as well), all of it in multiples of 4.
// Work     one workgroup a stretch; thread j takes the vec4s j, j + WG, ... WG is a power of two
//          and at least as large as a subgroup (128 at most).
// Cost     as layernorm_1.
// Numerics as in layernorm_1: variance in a second pass.
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 128u;
override RMS: u32 = 0u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

var<workgroup> partial: array<f32, WG>;

const ONES = vec4f(1.0);

// Σ over the workgroup, the same for all its threads
fn total(value: f32, j: u32, lane: u32, lanes: u32) -> f32 {
  let own = subgroupAdd(value);
  partial[j] = select(0.0, own, lane == 0u);
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane; i < WG; i += lanes) { sum += partial[i]; }
  workgroupBarrier(); // before the next total overwrites it
  return subgroupAdd(sum);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) j: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
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
    for (var c = j; c < d4; c += WG) { sums += x[start + c]; }
    mean = total(dot(sums, ONES), j, lane, lanes) / f32(params.d);
  }

  // σ² = 1/D Σ (x - μ)²
  var squares = vec4f();
  for (var c = j; c < d4; c += WG) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let variance = total(dot(squares, ONES), j, lane, lanes) / f32(params.d);
  let inverse = 1.0 / sqrt(variance + params.eps);

  // y = (x - μ) / √(σ² + ε) ⊙ weight + bias
  for (var c = j; c < d4; c += WG) {
    let scaled = (x[start + c] - mean) * inverse * weight[c];
    if (RMS == 0u) { y[start + c] = scaled + bias[c]; } else { y[start + c] = scaled; }
  }
}
