// Gradient of layer normalisation by its input for GPUs: subgroups add up, whatever their size.
//
//   dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂)),   g = dy ⊙ weight,   x̂ = (x - μ)/σ,   σ = √(var + ε)
//
// What changed  Four columns a load, and sums within a subgroup in registers; see
//          layernorm_workgroup, which says why neither the size of subgroups nor which threads
//          they hold matters.
// Shapes   as in layernorm_backward_1 (RMS as well), all of it in multiples of 4.
// Work     one workgroup a stretch; thread j takes the vec4s j, j + WG, ... WG is a power of two
//          and at least as large as a subgroup (128 at most).
// Cost     as layernorm_backward_1.
// Numerics as in layernorm_backward_1: μ and σ again, in two passes.
// Test     test/layernorm.test.ts, test/rmsnorm.test.ts

enable subgroups;

override WG: u32 = 128u;
override RMS: u32 = 0u;

struct Params { rows: u32, row: u32, parts: u32, first: u32, step: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;

var<workgroup> partial: array<vec2f, WG>;

const ONES = vec4f(1.0);

// Σ over the workgroup, the same for all its threads
fn total(value: vec2f, j: u32, lane: u32, lanes: u32) -> vec2f {
  let own = subgroupAdd(value);
  partial[j] = select(vec2f(), own, lane == 0u);
  workgroupBarrier();
  var sum = vec2f();
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
  let d = f32(params.d);
  let d4 = params.d / 4u;
  let stretch = params.first + i % params.parts * params.step;
  let start = (i / params.parts * params.row + stretch) / 4u;

  // μ = 1/D Σ x,   mean(g) = 1/D Σ dy weight
  var sums = vec2f();
  var mean = vec2f();
  if (RMS == 0u) {
    for (var c = j; c < d4; c += WG) {
      sums += vec2f(dot(x[start + c], ONES), dot(dy[start + c], weight[c]));
    }
    mean = total(sums, j, lane, lanes) / d;
  }

  // var = 1/D Σ (x - μ)²,   mean(g ⊙ (x - μ)) = 1/D Σ g (x - μ)
  sums = vec2f();
  for (var c = j; c < d4; c += WG) {
    let centred = x[start + c] - mean.x;
    sums += vec2f(dot(centred, centred), dot(centred, dy[start + c] * weight[c]));
  }
  let second = total(sums, j, lane, lanes) / d;
  let inverse = 1.0 / sqrt(second.x + params.eps);

  // dx = 1/σ (g - mean(g) - x̂ mean(g ⊙ x̂))
  for (var c = j; c < d4; c += WG) {
    let normal = (x[start + c] - mean.x) * inverse;
    let g = dy[start + c] * weight[c];
    dx[start + c] = inverse * (g - mean.y - normal * second.y * inverse);
  }
}
