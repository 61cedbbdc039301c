// How far numbers spread around their mean.
//
//   μ = Σ_i x_i / n ,   y = √( Σ_i (x_i − μ)² / (n − 1) )
//
// Shapes   x [n], n > 1; y [1].
// Work     one workgroup; each thread takes every WG-th number, then a tree.
// Cost     8 n bytes, 4 n flops.
// Numerics two passes: the mean is exact enough before anything is squared.
// Test     test/trace.test.ts

override WG: u32 = 256u; // a power of two

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, WG>;

fn total(lane: u32, mine: f32) -> f32 {
  sums[lane] = mine;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  let all = workgroupUniformLoad(&sums[0]);
  workgroupBarrier();
  return all;
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  // Σ_i x_i
  var sum = 0.0;
  for (var i = lane; i < params.n; i += WG) { sum += x[i]; }
  let mean = total(lane, sum) / f32(params.n);

  // Σ_i (x_i − μ)²
  var squares = 0.0;
  for (var i = lane; i < params.n; i += WG) { squares += (x[i] - mean) * (x[i] - mean); }
  let variance = total(lane, squares) / f32(params.n - 1u);
  if (lane == 0u) { y[0] = sqrt(variance); }
}
