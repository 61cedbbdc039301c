// Cholesky factor: the definition, column by column, in place. Every other rung must match it.
//
//   L_jj = √(A_jj − Σ_k L_jk²),   L_ij = (A_ij − Σ_k L_ik L_jk) / L_jj   for i > j, sums over k < j
//
// The pivot under the root fails unless it is above noise · A_jj: then its row goes to `failed`
// (the first one stays), and 1 takes its place, so that no NaN spreads.
//
// Shapes   l: the lower panels of A, n of them (src/edit/panels.ts), whose padding has ones on the
//          diagonal; diagonal, pivots [64 n]; failed [1], 0xffffffff before.
// Work     one workgroup: rows in strides, a barrier a column.
// Cost     F³ / 3 flops, one after another: for small matrices and for comparison.
// Source   Golub and Van Loan 2013, section 4.2 (column-oriented, by dot products).
// Test     test/cholesky.test.ts

override WG: u32 = 256u;

struct Params { n: u32, noise: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> diagonal: array<f32>;
@group(0) @binding(2) var<storage, read_write> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> pivots: array<f32>;
@group(0) @binding(4) var<storage, read_write> failed: array<atomic<u32>>;

// Index of element (i, j), 64 floor(j / 64) ≤ i.
fn at(i: u32, j: u32) -> u32 {
  let p = j / 64u;
  return (64u * (p * params.n - (p * p - p) / 2u) + i - 64u * p) * 64u + j % 64u;
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  let size = 64u * params.n;
  for (var j = 0u; j < size; j++) {
    // A_ij − Σ_k L_ik L_jk, into l_ij; row j itself gives the pivot
    for (var i = j + lane; i < size; i += WG) {
      var sum = l[at(i, j)];
      for (var k = 0u; k < j; k++) { sum -= l[at(i, k)] * l[at(j, k)]; }
      l[at(i, j)] = sum;
    }
    storageBarrier();
    let pivot = l[at(j, j)];
    var root = 1.0;
    if (pivot > params.noise * diagonal[j]) { root = sqrt(pivot); }
    storageBarrier();
    for (var i = j + lane; i < size; i += WG) {
      if (i == j) {
        l[at(j, j)] = root;
        pivots[j] = pivot;
        if (!(pivot > params.noise * diagonal[j])) { atomicMin(&failed[0], j); }
      } else {
        l[at(i, j)] /= root;
      }
    }
    storageBarrier();
  }
}
