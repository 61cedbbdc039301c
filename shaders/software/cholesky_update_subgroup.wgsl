// Blocked Cholesky, update of one panel by panels left of it, for subgroups of 4 and of 8.
//
//   A_ij −= Σ_k L_ik L_jk   for i ≥ 64 q, j in panel q, k in panels first … end − 1, end ≤ q
//
// What changed and why it is faster: a software adapter turns every storage load into a scalar load
// for each lane, with a bounds check. Here one lane loads a vec4 of a row and hands it round with
// subgroupBroadcast, and what a lane loads of the columns serves 4 LANES rows (on 8 lanes, 16 rows
// instead of 32 took 5 to 50 % longer).
//
// Shapes   left: panels first … end − 1 of n lower panels (src/edit/panels.ts), which hold L;
//          panel: panel q, which holds A. Both are writable because they may lie in one buffer.
// Work     a group makes 4 LANES rows x 64 columns; a lane owns 4 adjacent columns.
// Cost     2 · 64² q · 64 (n − q) flops.
// Source   Golub and Van Loan 2013, section 4.2.6 (block dot-product Cholesky).
// Test     test/cholesky.test.ts

enable subgroups;

override LANES: u32 = 8u; // the adapter's subgroup size, 4 or 8

struct Params { n: u32, q: u32, first: u32, end: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> failed: array<u32>;
@group(0) @binding(2) var<storage, read_write> left: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> panel: array<vec4f>;

alias Rows = array<vec4f, 32>;

// Σ_k a_k b_k for the rows that lanes 0 to 3 hold, four products at a time.
fn add_first(acc: ptr<function, Rows>, row: u32, a: vec4f, b: mat4x4f) {
  acc[row] += b * subgroupBroadcast(a, 0u);
  acc[row + 1u] += b * subgroupBroadcast(a, 1u);
  acc[row + 2u] += b * subgroupBroadcast(a, 2u);
  acc[row + 3u] += b * subgroupBroadcast(a, 3u);
}

// The same for lanes 4 to 7.
fn add_second(acc: ptr<function, Rows>, row: u32, a: vec4f, b: mat4x4f) {
  acc[row] += b * subgroupBroadcast(a, 4u);
  acc[row + 1u] += b * subgroupBroadcast(a, 5u);
  acc[row + 2u] += b * subgroupBroadcast(a, 6u);
  acc[row + 3u] += b * subgroupBroadcast(a, 7u);
}

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  if (failed[0] != 0xffffffffu) { return; } // a failed factor is not used
  let q = params.q;
  let row = 4u * LANES * group.x; // within the panel

  // Σ_k L_ik L_jk, panel by panel
  var acc: Rows;
  for (var p = params.first; p < params.end; p++) {
    // Where row 64 q of panel p lies.
    let origin = panel_row(p) - panel_row(params.first) + 64u * (q - p);
    let a = (origin + row + lane) * 16u;
    let at = (origin + 4u * thread) * 16u;
    for (var k = 0u; k < 16u; k++) {
      let cols = mat4x4f(left[at + k], left[at + 16u + k], left[at + 32u + k], left[at + 48u + k]);
      let b = transpose(cols);
      let a0 = left[a + k];
      let a1 = left[a + 16u * LANES + k];
      let a2 = left[a + 32u * LANES + k];
      let a3 = left[a + 48u * LANES + k];
      add_first(&acc, 0u, a0, b);
      add_first(&acc, LANES, a1, b);
      add_first(&acc, 2u * LANES, a2, b);
      add_first(&acc, 3u * LANES, a3, b);
      if (LANES == 8u) {
        add_second(&acc, 4u, a0, b);
        add_second(&acc, 12u, a1, b);
        add_second(&acc, 20u, a2, b);
        add_second(&acc, 28u, a3, b);
      }
    }
  }

  for (var i = 0u; i < 4u * LANES; i++) { panel[(row + i) * 16u + thread] -= acc[i]; }
}
