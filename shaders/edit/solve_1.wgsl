// x with C x = k, for the direction u = x / |x| of an edit: the definition, in plain f32.
//
//   C = L Lᵀ:   L_jj = √(C_jj − Σ_k L_jk²),   L_ij = (C_ij − Σ_k L_ik L_jk) / L_jj
//               for i > j, sums over k < j
//   L y = k:    y_i = (k_i − Σ_j L_ij y_j) / L_ii,   sum over j < i
//   Lᵀ x = y:   x_i = (y_i − Σ_j L_ji x_j) / L_ii,   sum over j > i
//
// Shapes   c [F, F] symmetric, positive definite; its lower triangle becomes L. key, x [F].
// Work     one workgroup: L column by column, its rows in strides; one thread for y and x.
// Cost     F³ / 3 + 2 F² flops, one after another: for reading, and for small matrices.
// Numerics as if C had been another matrix, off by about ε √F |C| (ε = 2⁻²³): the relative error
//          of x is at most about 4 ε √F κ(C). C of real text has κ of 10⁶ and more, so the engine
//          takes L, made in blocks (cholesky_*), for a first guess only and refines x with
//          residuals in two floats (product_*).
// Source   Golub and Van Loan 2013, sections 3.1 and 4.2; Higham 2002, theorem 10.4.
// Test     test/solve.test.ts

override WG: u32 = 64u;

struct Params { f: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> c: array<f32>;
@group(0) @binding(2) var<storage, read> key: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  let f = params.f;
  // C = L Lᵀ, a column of L at a time
  for (var j = 0u; j < f; j++) {
    for (var i = j + lane; i < f; i += WG) {
      for (var k = 0u; k < j; k++) { c[i * f + j] -= c[i * f + k] * c[j * f + k]; }
    }
    storageBarrier();
    let root = sqrt(c[j * f + j]);
    storageBarrier(); // everybody has it
    for (var i = j + lane; i < f; i += WG) {
      c[i * f + j] = select(c[i * f + j] / root, root, i == j);
    }
    storageBarrier();
  }
  if (lane > 0u) { return; }

  // L y = k, from the top; y lies in x
  for (var i = 0u; i < f; i++) {
    x[i] = key[i];
    for (var j = 0u; j < i; j++) { x[i] -= c[i * f + j] * x[j]; }
    x[i] /= c[i * f + i];
  }
  // Lᵀ x = y, from the bottom
  for (var step = 1u; step <= f; step++) {
    let i = f - step;
    for (var j = i + 1u; j < f; j++) { x[i] -= c[j * f + i] * x[j]; }
    x[i] /= c[i * f + i];
  }
}
