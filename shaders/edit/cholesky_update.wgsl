// Blocked Cholesky, update of one panel by panels left of it: almost all the work.
//
//   A_ij −= Σ_k L_ik L_jk   for i ≥ 64 q, j in panel q, k in panels first … end − 1, end ≤ q
//
// Shapes   left: panels first … end − 1 of n lower panels (src/edit/panels.ts), which hold L;
//          panel: panel q, which holds A. Both are writable because they may lie in one buffer.
// Work     a thread makes 4 x 4 elements, four products at a time; a group 16 rows x 64 columns.
// Cost     2 · 64² q · 64 (n − q) flops.
// Source   Golub and Van Loan 2013, section 4.2.6 (block dot-product Cholesky).
// Test     test/cholesky.test.ts

struct Params { n: u32, q: u32, first: u32, end: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> failed: array<u32>;
@group(0) @binding(2) var<storage, read_write> left: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> panel: array<vec4f>;

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  if (failed[0] != 0xffffffffu) { return; } // a failed factor is not used
  let q = params.q;
  let row = 16u * group.x + 4u * local.y; // within the panel

  // Σ_k L_ik L_jk, panel by panel
  var acc: mat4x4f; // acc[i][j]
  for (var p = params.first; p < params.end; p++) {
    // Where row 64 q of panel p lies.
    let origin = panel_row(p) - panel_row(params.first) + 64u * (q - p);
    let a = (origin + row) * 16u;
    let b = (origin + 4u * local.x) * 16u;
    for (var k = 0u; k < 16u; k++) {
      let right = mat4x4f(left[b + k], left[b + 16u + k], left[b + 32u + k], left[b + 48u + k]);
      acc[0] += left[a + k] * right;
      acc[1] += left[a + 16u + k] * right;
      acc[2] += left[a + 32u + k] * right;
      acc[3] += left[a + 48u + k] * right;
    }
  }

  for (var i = 0u; i < 4u; i++) { panel[(row + i) * 16u + local.x] -= acc[i]; }
}
