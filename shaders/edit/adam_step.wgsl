// One step of Adam on the δ of every request, with the gradient of the weight decay added; then a
// clamp of its norm.
//
//   g = gradient + weight_decay · δ / (|δ| |v0|²)           the second term is 0 at δ = 0
//   m ← m + (1 − β1)(g − m),   v ← β2 v + (1 − β2) g²
//   δ ← δ − learning_rate / correction1 · m / (√v / √correction2 + eps)
//   correction_i = 1 − β_i^(step + 1)
//   δ ← δ · limit / |δ|   where |δ| > limit,   limit = clamp_norm_factor · |v0|
//
// Nothing changes when the trace says done: the δ of that row is the result.
//
// Shapes   gradient, v0, delta, m, v [n, D]; trace [steps, n, 8], of which |δ| (column 5) and done
//          (column 6) are read; requests u32 [a, 4]: the first of each four is a row of δ.
// Work     one workgroup a request: norms by a tree in fixed order, then coordinates in strides.
// Cost     36 a D bytes.
// Numerics rest_i = 1 − β_i comes from the caller: in f32, 1 − 0.999 would be off by 5e-5.
// Source   Kingma and Ba 2015, in torch's form: eps is added to the corrected root. kmeng01/rome
//          `compute_v`: the clamp comes after the step and leaves m and v untouched.
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params {
  step: u32, n: u32, d: u32, learning_rate: f32, weight_decay: f32, rest1: f32, beta2: f32,
  rest2: f32, eps: f32, correction1: f32, correction2: f32, clamp_norm_factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> v0: array<f32>;
@group(0) @binding(3) var<storage, read> trace: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> m: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;
@group(0) @binding(7) var<storage, read> requests: array<vec4u>;

var<workgroup> parts: array<f32, WG>;

// Σ over the workgroup, the same for all its threads
fn total(part: f32, lane: u32) -> f32 {
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  workgroupBarrier();
  let sum = parts[0];
  workgroupBarrier(); // before the next total overwrites it
  return sum;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let request = requests[group.x].x;
  let row = (params.step * params.n + request) * 8u;
  if (trace[row + 6u] != 0.0) { return; }
  let first = request * params.d;
  // |v0|²
  var part = 0.0;
  for (var i = lane; i < params.d; i += WG) { part += v0[first + i] * v0[first + i]; }
  let v0_squared = total(part, lane);

  let norm = trace[row + 5u];
  var pull = 0.0; // weight_decay / (|δ| |v0|²)
  if (norm > 0.0) { pull = params.weight_decay / (norm * v0_squared); }
  let rate = params.learning_rate / params.correction1;
  let root = sqrt(params.correction2);
  part = 0.0;
  for (var c = lane; c < params.d; c += WG) {
    let i = first + c;
    let g = gradient[i] + pull * delta[i];
    let mean = m[i] + params.rest1 * (g - m[i]);
    let square = params.beta2 * v[i] + params.rest2 * g * g;
    m[i] = mean;
    v[i] = square;
    delta[i] -= rate * mean / (sqrt(square) / root + params.eps);
    part += delta[i] * delta[i];
  }

  // |δ| back to the limit
  let length = sqrt(total(part, lane));
  let limit = params.clamp_norm_factor * sqrt(v0_squared);
  if (length <= limit) { return; }
  let factor = limit / length;
  for (var c = lane; c < params.d; c += WG) { delta[first + c] *= factor; }
}
