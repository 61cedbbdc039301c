// Vectors of one length: the direction u of an edit, and norm anchoring.
//
//   u_r = a · x_r / |x_r|
//
// Shapes   x, u [n, F].
// Work     one workgroup a row: |x|² in strides, then a tree (a fixed order), then the quotients.
// Cost     12 n F bytes.
// Numerics scaled by the largest element first, so that no square leaves the range of f32.
// Source   a = 1: kmeng01/rome `compute_u`. NAS, arXiv 2602.02543: a is the mean length of v* over
//          edits of the unedited model.
// Test     test/solve.test.ts, test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params { f: u32, length: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<f32>;

var<workgroup> parts: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let first = group.x * params.f;
  let end = first + params.f;
  // max |x_i|
  var part = 0.0;
  for (var i = first + lane; i < end; i += WG) { part = max(part, abs(x[i])); }
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] = max(parts[lane], parts[lane + half]); }
  }
  let largest = workgroupUniformLoad(&parts[0]);

  // Σ_i (x_i / largest)²
  part = 0.0;
  for (var i = first + lane; i < end; i += WG) { part += (x[i] / largest) * (x[i] / largest); }
  workgroupBarrier();
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  let norm = sqrt(workgroupUniformLoad(&parts[0]));
  for (var i = first + lane; i < end; i += WG) { u[i] = params.length * (x[i] / largest) / norm; }
}
