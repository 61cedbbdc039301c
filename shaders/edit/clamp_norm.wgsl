// Keeps the δ of every request inside a ball around 0, in place.
//
//   δ ← δ · limit / |δ|   where |δ| > limit,   limit = clamp · |v0|
//
// Nothing changes when the trace says done, since rescaling twice would not give the same bits.
//
// Shapes   delta, v0 [n, D]; trace [steps, n, 8], of which done (column 6) is read; requests u32
//          [a, 4]: the first of each four is a row of δ.
// Work     one workgroup a request; both norms by a tree in fixed order.
// Cost     12 a D bytes.
// Source   kmeng01/rome `compute_v`: after the step, Adam's moments untouched.
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params { step: u32, n: u32, d: u32, clamp_norm_factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v0: array<f32>;
@group(0) @binding(2) var<storage, read> trace: array<f32>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;
@group(0) @binding(4) var<storage, read> requests: array<vec4u>;

var<workgroup> parts: array<vec2f, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let request = requests[group.x].x;
  if (trace[(params.step * params.n + request) * 8u + 6u] != 0.0) { return; }
  let first = request * params.d;
  // |δ|², |v0|²
  var part = vec2f();
  for (var c = lane; c < params.d; c += WG) {
    let i = first + c;
    part += vec2f(delta[i] * delta[i], v0[i] * v0[i]);
  }
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  workgroupBarrier();

  let norm = sqrt(parts[0].x);
  let limit = params.clamp_norm_factor * sqrt(parts[0].y);
  if (norm <= limit) { return; }
  let factor = limit / norm;
  for (var c = lane; c < params.d; c += WG) { delta[first + c] *= factor; }
}
