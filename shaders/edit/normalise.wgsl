// A vector of unit length: u = x / |x|.
//
// Shapes   x, u [F].
// Work     one workgroup: |x|² in strides, then a tree (a fixed order), then the quotients.
// Cost     12 F bytes.
// Numerics scaled by the largest element first, so that no square leaves the range of f32.
// Source   kmeng01/rome `compute_u`.
// Test     test/solve.test.ts

override WG: u32 = 256u; // a power of two

struct Params { f: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<f32>;

var<workgroup> parts: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  // max |x_i|
  var part = 0.0;
  for (var i = lane; i < params.f; i += WG) { part = max(part, abs(x[i])); }
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] = max(parts[lane], parts[lane + half]); }
  }
  let largest = workgroupUniformLoad(&parts[0]);

  // Σ_i (x_i / largest)²
  part = 0.0;
  for (var i = lane; i < params.f; i += WG) { part += (x[i] / largest) * (x[i] / largest); }
  workgroupBarrier();
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  let norm = sqrt(workgroupUniformLoad(&parts[0]));
  for (var i = lane; i < params.f; i += WG) { u[i] = (x[i] / largest) / norm; }
}
