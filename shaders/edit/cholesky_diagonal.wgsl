// Blocked Cholesky, the factor of the 64 x 64 block on the diagonal, and the inverse of that: with
// it, solves with the block become products.
//
//   L_jj = √(A_jj − Σ_k L_jk²),   L_ij = (A_ij − Σ_k L_ik L_jk) / L_jj     k < j in the block
//   X = L⁻¹:   X_ii = 1 / L_ii,   X_ij = −(Σ_k X_ik L_kj) / L_jj   for j < i, sum over j < k ≤ i
//
// The pivot under the root fails unless it is above noise · diagonal: then its row goes to `failed`
// (the first one stays), and 1 takes its place, so that no NaN spreads.
//
// Shapes   panel: q of n lower panels (src/edit/panels.ts), of which the first 64 rows; diagonal,
//          pivots [64 n]; failed [1], 0xffffffff before; inverses [64 n, 64], of which block q.
//          Zeros go above the diagonals.
// Work     one workgroup, a thread a row. In workgroup memory L takes the lower triangle, X_ij lies
//          at (j, i).
// Cost     2 · 64³ / 3 flops.
// Source   Golub and Van Loan 2013, section 4.2; Du Croz and Higham 1992, method 1.
// Test     test/cholesky.test.ts

struct Params { q: u32, noise: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> diagonal: array<f32>;
@group(0) @binding(2) var<storage, read_write> panel: array<f32>;
@group(0) @binding(3) var<storage, read_write> pivots: array<f32>;
@group(0) @binding(4) var<storage, read_write> failed: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> inverses: array<f32>;

var<workgroup> a: array<f32, 4096>; // 16 KiB, all that the default limits give

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  let base = 64u * row;
  let global_row = 64u * params.q + row;
  for (var j = 0u; j < 64u; j++) { a[base + j] = panel[base + j]; }

  for (var j = 0u; j < 64u; j++) {
    workgroupBarrier();
    // A_ij − Σ_k L_ik L_jk
    var sum = a[base + j];
    if (row >= j) {
      for (var k = 0u; k < j; k++) { sum -= a[base + k] * a[64u * j + k]; }
    }
    if (row == j) {
      pivots[global_row] = sum;
      if (sum > params.noise * diagonal[global_row]) {
        a[65u * j] = sqrt(sum);
      } else {
        a[65u * j] = 1.0;
        atomicMin(&failed[0], global_row);
      }
    }
    workgroupBarrier();
    if (row > j) { a[base + j] = sum / a[65u * j]; }
  }
  workgroupBarrier();

  for (var j = 0u; j < 64u; j++) { panel[base + j] = select(0.0, a[base + j], j <= row); }
  workgroupBarrier(); // X takes the places above the diagonal

  // X_ij = −(Σ_k X_ik L_kj) / L_jj, from the diagonal to the left
  let own = 1.0 / a[65u * row];
  for (var step = 1u; step <= row; step++) {
    let j = row - step;
    var sum = own * a[base + j];
    for (var k = j + 1u; k < row; k++) { sum += a[64u * k + row] * a[64u * k + j]; }
    a[64u * j + row] = -sum / a[65u * j];
  }

  for (var j = 0u; j < 64u; j++) {
    var x = 0.0;
    if (j < row) { x = a[64u * j + row]; } else if (j == row) { x = own; }
    inverses[64u * global_row + j] = x;
  }
}
