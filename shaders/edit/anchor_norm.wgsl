// Gives every value the same length: norm anchoring.
//
//   y_r = x_r · a / |x_r|
//
// Shapes   x, y [n, D].
// Work     one workgroup a row; |x_r|² by a tree in fixed order.
// Cost     12 n D bytes, 3 n D flops.
// Source   NAS, arXiv 2602.02543: a is the mean length over edits of the unedited model.
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params { d: u32, length: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let first = group.x * params.d;
  // |x_r|²
  var part = 0.0;
  for (var c = lane; c < params.d; c += WG) { part += x[first + c] * x[first + c]; }
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  workgroupBarrier();

  let factor = params.length / sqrt(parts[0]);
  for (var c = lane; c < params.d; c += WG) { y[first + c] = x[first + c] * factor; }
}
