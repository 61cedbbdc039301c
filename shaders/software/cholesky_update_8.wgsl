// Blocked Cholesky, update of one panel by panels left of it. For subgroups of 8.
//
//   A_ij −= Σ_k L_ik L_jk   for i ≥ 64 q, j in panel q, k in panels first … end − 1, end ≤ q
//
// What changed and why it is faster: a software adapter turns every storage load into 8 scalar
// loads with a bounds check each. Here one lane loads a vec4 of a row and hands it round with
// subgroupBroadcast, and what a lane loads of the columns serves 16 rows.
//
// Shapes   l: lower panels, n of them (src/edit/panels.ts); panels before q hold L, those from q on
//          A.
// Work     a group makes 16 rows x 64 columns; a lane owns 4 adjacent columns.
// Cost     2 · 64² q · 64 (n − q) flops.
// Source   Golub and Van Loan 2013, section 4.2.6 (block dot-product Cholesky).
// Test     test/cholesky.test.ts

enable subgroups;

struct Params { n: u32, q: u32, first: u32, end: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> failed: array<u32>;
@group(0) @binding(2) var<storage, read_write> l: array<vec4f>;

@compute @workgroup_size(16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  if (failed[0] != 0xffffffffu) { return; } // a failed factor is not used
  let q = params.q;
  let row = 64u * q + 16u * group.x;

  // Σ_k L_ik L_jk, panel by panel, four products at a time
  var acc: array<vec4f, 16>;
  for (var p = params.first; p < params.end; p++) {
    // Row i of panel p lies at origin + i.
    let origin = 64u * (p * params.n - (p * p - p) / 2u) - 64u * p;
    let a = (origin + row + lane) * 16u;
    let at = (origin + 64u * q + 4u * thread) * 16u;
    for (var k = 0u; k < 16u; k++) {
      let a0 = l[a + k];
      let a1 = l[a + 128u + k];
      let b = transpose(mat4x4f(l[at + k], l[at + 16u + k], l[at + 32u + k], l[at + 48u + k]));
      acc[0] += subgroupBroadcast(a0.x, 0u) * b[0] + subgroupBroadcast(a0.y, 0u) * b[1]
        + subgroupBroadcast(a0.z, 0u) * b[2] + subgroupBroadcast(a0.w, 0u) * b[3];
      acc[1] += subgroupBroadcast(a0.x, 1u) * b[0] + subgroupBroadcast(a0.y, 1u) * b[1]
        + subgroupBroadcast(a0.z, 1u) * b[2] + subgroupBroadcast(a0.w, 1u) * b[3];
      acc[2] += subgroupBroadcast(a0.x, 2u) * b[0] + subgroupBroadcast(a0.y, 2u) * b[1]
        + subgroupBroadcast(a0.z, 2u) * b[2] + subgroupBroadcast(a0.w, 2u) * b[3];
      acc[3] += subgroupBroadcast(a0.x, 3u) * b[0] + subgroupBroadcast(a0.y, 3u) * b[1]
        + subgroupBroadcast(a0.z, 3u) * b[2] + subgroupBroadcast(a0.w, 3u) * b[3];
      acc[4] += subgroupBroadcast(a0.x, 4u) * b[0] + subgroupBroadcast(a0.y, 4u) * b[1]
        + subgroupBroadcast(a0.z, 4u) * b[2] + subgroupBroadcast(a0.w, 4u) * b[3];
      acc[5] += subgroupBroadcast(a0.x, 5u) * b[0] + subgroupBroadcast(a0.y, 5u) * b[1]
        + subgroupBroadcast(a0.z, 5u) * b[2] + subgroupBroadcast(a0.w, 5u) * b[3];
      acc[6] += subgroupBroadcast(a0.x, 6u) * b[0] + subgroupBroadcast(a0.y, 6u) * b[1]
        + subgroupBroadcast(a0.z, 6u) * b[2] + subgroupBroadcast(a0.w, 6u) * b[3];
      acc[7] += subgroupBroadcast(a0.x, 7u) * b[0] + subgroupBroadcast(a0.y, 7u) * b[1]
        + subgroupBroadcast(a0.z, 7u) * b[2] + subgroupBroadcast(a0.w, 7u) * b[3];
      acc[8] += subgroupBroadcast(a1.x, 0u) * b[0] + subgroupBroadcast(a1.y, 0u) * b[1]
        + subgroupBroadcast(a1.z, 0u) * b[2] + subgroupBroadcast(a1.w, 0u) * b[3];
      acc[9] += subgroupBroadcast(a1.x, 1u) * b[0] + subgroupBroadcast(a1.y, 1u) * b[1]
        + subgroupBroadcast(a1.z, 1u) * b[2] + subgroupBroadcast(a1.w, 1u) * b[3];
      acc[10] += subgroupBroadcast(a1.x, 2u) * b[0] + subgroupBroadcast(a1.y, 2u) * b[1]
        + subgroupBroadcast(a1.z, 2u) * b[2] + subgroupBroadcast(a1.w, 2u) * b[3];
      acc[11] += subgroupBroadcast(a1.x, 3u) * b[0] + subgroupBroadcast(a1.y, 3u) * b[1]
        + subgroupBroadcast(a1.z, 3u) * b[2] + subgroupBroadcast(a1.w, 3u) * b[3];
      acc[12] += subgroupBroadcast(a1.x, 4u) * b[0] + subgroupBroadcast(a1.y, 4u) * b[1]
        + subgroupBroadcast(a1.z, 4u) * b[2] + subgroupBroadcast(a1.w, 4u) * b[3];
      acc[13] += subgroupBroadcast(a1.x, 5u) * b[0] + subgroupBroadcast(a1.y, 5u) * b[1]
        + subgroupBroadcast(a1.z, 5u) * b[2] + subgroupBroadcast(a1.w, 5u) * b[3];
      acc[14] += subgroupBroadcast(a1.x, 6u) * b[0] + subgroupBroadcast(a1.y, 6u) * b[1]
        + subgroupBroadcast(a1.z, 6u) * b[2] + subgroupBroadcast(a1.w, 6u) * b[3];
      acc[15] += subgroupBroadcast(a1.x, 7u) * b[0] + subgroupBroadcast(a1.y, 7u) * b[1]
        + subgroupBroadcast(a1.z, 7u) * b[2] + subgroupBroadcast(a1.w, 7u) * b[3];
    }
  }

  let panel = 64u * (q * params.n - (q * q - q) / 2u) - 64u * q;
  for (var i = 0u; i < 16u; i++) { l[(panel + row + i) * 16u + thread] -= acc[i]; }
}
