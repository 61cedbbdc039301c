// Blocked Cholesky, update of one panel by panels left of it: almost all the work.
//
//   A_ij −= Σ_k L_ik L_jk   for i ≥ 64 q, j in panel q, k in panels first … end − 1, end ≤ q
//
// Shapes   l: lower panels, n of them (src/edit/panels.ts); panels before q hold L, those from q on
//          A.
// Work     a thread makes 4 x 4 elements, four products at a time; a group 16 rows x 64 columns.
// Cost     2 · 64² q · 64 (n − q) flops.
// Source   Golub and Van Loan 2013, section 4.2.6 (block dot-product Cholesky).
// Test     test/cholesky.test.ts

struct Params { n: u32, q: u32, first: u32, end: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> failed: array<u32>;
@group(0) @binding(2) var<storage, read_write> l: array<vec4f>;

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  if (failed[0] != 0xffffffffu) { return; } // a failed factor is not used
  let q = params.q;
  let row = 64u * q + 16u * group.x + 4u * local.y;
  let column = 64u * q + 4u * local.x;

  // Σ_k L_ik L_jk, panel by panel
  var acc: mat4x4f; // acc[i][j]
  for (var p = params.first; p < params.end; p++) {
    // Row i of panel p lies at origin + i.
    let origin = 64u * (p * params.n - (p * p - p) / 2u) - 64u * p;
    let a = (origin + row) * 16u;
    let b = (origin + column) * 16u;
    for (var k = 0u; k < 16u; k++) {
      let right = mat4x4f(l[b + k], l[b + 16u + k], l[b + 32u + k], l[b + 48u + k]);
      acc[0] += l[a + k] * right;
      acc[1] += l[a + 16u + k] * right;
      acc[2] += l[a + 32u + k] * right;
      acc[3] += l[a + 48u + k] * right;
    }
  }

  let panel = 64u * (q * params.n - (q * q - q) / 2u) - 64u * q;
  for (var i = 0u; i < 4u; i++) { l[(panel + row + i) * 16u + local.x] -= acc[i]; }
}
