// Blocked Cholesky, what lies below the diagonal block of a panel, in place.
//
//   L_i = A_i Xᵀ   for rows i ≥ 64 (q + 1) of panel q,   X = L_qq⁻¹
//
// Shapes   panel: q of n lower panels (src/edit/panels.ts), [64 (n − q), 64]; inverses [64 n, 64].
// Work     a group takes 16 rows: a thread makes 4 x 4 elements, and all wait before the rows are
//          overwritten.
// Cost     2 · 64³ (n − q − 1) flops.
// Test     test/cholesky.test.ts

struct Params { q: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inverses: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> panel: array<vec4f>;

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let a = (64u + 16u * group.x + 4u * local.y) * 16u;
  let b = (64u * params.q + 4u * local.x) * 16u;

  // Σ_k A_ik X_jk
  var acc: mat4x4f; // acc[i][j]
  for (var k = 0u; k < 16u; k++) {
    let at = b + k;
    let right = mat4x4f(inverses[at], inverses[at + 16u], inverses[at + 32u], inverses[at + 48u]);
    acc[0] += panel[a + k] * right;
    acc[1] += panel[a + 16u + k] * right;
    acc[2] += panel[a + 32u + k] * right;
    acc[3] += panel[a + 48u + k] * right;
  }
  storageBarrier();
  for (var i = 0u; i < 4u; i++) { panel[a + 16u * i + local.x] = acc[i]; }
}
