// U, the update that writes many facts at once: the definition, in plain f32.
//
//   (μA + QᵀQ) U = QᵀS     Q: keys of earlier facts and of these; S: 0 and R
//
// the same as U = A⁻¹Qᵀ (μI + Q A⁻¹ Qᵀ)⁻¹ S, which the engine computes with a factor of A that is
// made once (src/edit/mass-update.ts), while this is a new F x F system for every batch.
//
// Shapes   a [F, F] symmetric, positive definite, used up; q [n, F]; s [n, D]; u [F, D].
// Work     one workgroup: rows in strides, a barrier for every row that is eliminated.
// Cost     F³ + 2 F² n flops, one after another: for reading, and for small matrices.
// Numerics relative error about ε √F κ(μA + QᵀQ), ε = 2⁻²³.
// Source   Meng et al. 2023, eq. 14, for A = C and μ = λ.
// Test     test/mass-update.test.ts

override WG: u32 = 64u;

struct Params { f: u32, d: u32, n: u32, mu: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> s: array<f32>;
@group(0) @binding(4) var<storage, read_write> u: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  let f = params.f;
  let d = params.d;
  // μA + QᵀQ and QᵀS
  for (var i = lane; i < f; i += WG) {
    for (var j = 0u; j < f; j++) { a[i * f + j] *= params.mu; }
    for (var j = 0u; j < d; j++) { u[i * d + j] = 0.0; }
    for (var t = 0u; t < params.n; t++) {
      let key = q[t * f + i];
      for (var j = 0u; j < f; j++) { a[i * f + j] += key * q[t * f + j]; }
      for (var j = 0u; j < d; j++) { u[i * d + j] += key * s[t * d + j]; }
    }
  }
  // every other row less its multiple of row k: the matrix becomes diagonal
  for (var k = 0u; k < f; k++) {
    storageBarrier();
    for (var i = lane; i < f; i += WG) {
      if (i == k) { continue; }
      let factor = a[i * f + k] / a[k * f + k];
      for (var j = k; j < f; j++) { a[i * f + j] -= factor * a[k * f + j]; }
      for (var j = 0u; j < d; j++) { u[i * d + j] -= factor * u[k * d + j]; }
    }
  }
  storageBarrier();
  for (var i = lane; i < f; i += WG) {
    for (var j = 0u; j < d; j++) { u[i * d + j] /= a[i * f + i]; }
  }
}
