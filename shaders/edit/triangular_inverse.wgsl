// Inverse of a 64 x 64 diagonal block of L: with it, solves with that block become products.
//
//   X = L⁻¹:   X_ii = 1 / L_ii,   X_ij = −(Σ_k X_ik L_kj) / L_jj   for j < i, sum over j < k ≤ i
//
// Shapes   panel: q of n lower panels of L (src/edit/panels.ts), of which the first 64 rows;
//          inverses [64 n, 64], of which block q, with zeros above its diagonal.
// Work     one workgroup, a thread a row. In workgroup memory L takes the lower triangle, X_ij lies
//          at (j, i).
// Cost     64³ / 3 flops.
// Source   Du Croz and Higham 1992, method 1.
// Test     test/cholesky.test.ts

struct Params { q: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> panel: array<f32>;
@group(0) @binding(2) var<storage, read_write> inverses: array<f32>;

var<workgroup> a: array<f32, 4096>; // 16 KiB, all that the default limits give

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  for (var j = 0u; j <= row; j++) { a[64u * row + j] = panel[64u * row + j]; }
  workgroupBarrier();

  // X_ij = −(Σ_k X_ik L_kj) / L_jj, from the diagonal to the left
  let own = 1.0 / a[65u * row];
  for (var step = 1u; step <= row; step++) {
    let j = row - step;
    var sum = own * a[64u * row + j];
    for (var k = j + 1u; k < row; k++) { sum += a[64u * k + row] * a[64u * k + j]; }
    a[64u * j + row] = -sum / a[65u * j];
  }

  for (var j = 0u; j < 64u; j++) {
    var x = 0.0;
    if (j < row) { x = a[64u * j + row]; } else if (j == row) { x = own; }
    inverses[64u * (64u * params.q + row) + j] = x;
  }
}
