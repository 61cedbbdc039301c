// Sum of outer products of keys: no workgroup memory, for adapters with subgroups.
//
//   S_ij += Σ_t K_ti K_tj   for tokens t in first … first + tokens − 1
//
// What changed and why it is faster: a software adapter turns every storage load into scalar loads
// with a bounds check each, so loads decide. One vec4 a lane brings 4 LANES rows of a token, handed
// round with subgroupBroadcast; each vec4 of columns serves them all (on 8 lanes, 16 rows instead
// of 32 were 25 % slower).
//
// Shapes   keys [T, F], F a multiple of 4; sum: lower panels of S from `panel` on (see
//          second_moment_1).
// Work     a group makes 4 LANES rows x 64 columns; a lane owns 4 adjacent columns.
// Cost     F² tokens flops; reads of K: F² tokens / (4 LANES) elements.
// Source   Meng et al. 2022, eq. 2 (C = K Kᵀ).
// Test     test/second-moment.test.ts

enable subgroups;

override LANES: u32 = 8u; // the adapter's subgroup size, 4 or 8

struct Params { f: u32, panel: u32, first: u32, tokens: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> keys: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sum: array<vec4f>;

// First row of panel p.
fn panel_row(p: u32, n: u32) -> u32 { return 64u * (p * n - (p * p - p) / 2u); }

@compute @workgroup_size(16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let n = (params.f + 63u) / 64u;
  let p = params.panel + group.y;
  let row = 4u * LANES * group.x;
  if (row < 64u * p || row >= params.f) { return; }
  let f4 = params.f / 4u;
  let col4 = 16u * p + thread;
  // Lanes beyond an edge read what lies at the edge and write nothing.
  let a_at = min(row / 4u + lane, f4 - 1u);
  let b_at = min(col4, f4 - 1u);
  let end = params.first + params.tokens;

  // Σ_t K_ti K_tj, two tokens a turn
  var acc: array<vec4f, 32>;
  for (var t = params.first; t < end; t += 2u) {
    let next = min(t + 1u, end - 1u);
    let a0 = keys[t * f4 + a_at];
    let a1 = select(vec4f(), keys[next * f4 + a_at], t + 1u < end);
    let b0 = keys[t * f4 + b_at];
    let b1 = keys[next * f4 + b_at];
    acc[0] += subgroupBroadcast(a0.x, 0u) * b0 + subgroupBroadcast(a1.x, 0u) * b1;
    acc[1] += subgroupBroadcast(a0.y, 0u) * b0 + subgroupBroadcast(a1.y, 0u) * b1;
    acc[2] += subgroupBroadcast(a0.z, 0u) * b0 + subgroupBroadcast(a1.z, 0u) * b1;
    acc[3] += subgroupBroadcast(a0.w, 0u) * b0 + subgroupBroadcast(a1.w, 0u) * b1;
    acc[4] += subgroupBroadcast(a0.x, 1u) * b0 + subgroupBroadcast(a1.x, 1u) * b1;
    acc[5] += subgroupBroadcast(a0.y, 1u) * b0 + subgroupBroadcast(a1.y, 1u) * b1;
    acc[6] += subgroupBroadcast(a0.z, 1u) * b0 + subgroupBroadcast(a1.z, 1u) * b1;
    acc[7] += subgroupBroadcast(a0.w, 1u) * b0 + subgroupBroadcast(a1.w, 1u) * b1;
    acc[8] += subgroupBroadcast(a0.x, 2u) * b0 + subgroupBroadcast(a1.x, 2u) * b1;
    acc[9] += subgroupBroadcast(a0.y, 2u) * b0 + subgroupBroadcast(a1.y, 2u) * b1;
    acc[10] += subgroupBroadcast(a0.z, 2u) * b0 + subgroupBroadcast(a1.z, 2u) * b1;
    acc[11] += subgroupBroadcast(a0.w, 2u) * b0 + subgroupBroadcast(a1.w, 2u) * b1;
    acc[12] += subgroupBroadcast(a0.x, 3u) * b0 + subgroupBroadcast(a1.x, 3u) * b1;
    acc[13] += subgroupBroadcast(a0.y, 3u) * b0 + subgroupBroadcast(a1.y, 3u) * b1;
    acc[14] += subgroupBroadcast(a0.z, 3u) * b0 + subgroupBroadcast(a1.z, 3u) * b1;
    acc[15] += subgroupBroadcast(a0.w, 3u) * b0 + subgroupBroadcast(a1.w, 3u) * b1;
    if (LANES == 8u) {
      acc[16] += subgroupBroadcast(a0.x, 4u) * b0 + subgroupBroadcast(a1.x, 4u) * b1;
      acc[17] += subgroupBroadcast(a0.y, 4u) * b0 + subgroupBroadcast(a1.y, 4u) * b1;
      acc[18] += subgroupBroadcast(a0.z, 4u) * b0 + subgroupBroadcast(a1.z, 4u) * b1;
      acc[19] += subgroupBroadcast(a0.w, 4u) * b0 + subgroupBroadcast(a1.w, 4u) * b1;
      acc[20] += subgroupBroadcast(a0.x, 5u) * b0 + subgroupBroadcast(a1.x, 5u) * b1;
      acc[21] += subgroupBroadcast(a0.y, 5u) * b0 + subgroupBroadcast(a1.y, 5u) * b1;
      acc[22] += subgroupBroadcast(a0.z, 5u) * b0 + subgroupBroadcast(a1.z, 5u) * b1;
      acc[23] += subgroupBroadcast(a0.w, 5u) * b0 + subgroupBroadcast(a1.w, 5u) * b1;
      acc[24] += subgroupBroadcast(a0.x, 6u) * b0 + subgroupBroadcast(a1.x, 6u) * b1;
      acc[25] += subgroupBroadcast(a0.y, 6u) * b0 + subgroupBroadcast(a1.y, 6u) * b1;
      acc[26] += subgroupBroadcast(a0.z, 6u) * b0 + subgroupBroadcast(a1.z, 6u) * b1;
      acc[27] += subgroupBroadcast(a0.w, 6u) * b0 + subgroupBroadcast(a1.w, 6u) * b1;
      acc[28] += subgroupBroadcast(a0.x, 7u) * b0 + subgroupBroadcast(a1.x, 7u) * b1;
      acc[29] += subgroupBroadcast(a0.y, 7u) * b0 + subgroupBroadcast(a1.y, 7u) * b1;
      acc[30] += subgroupBroadcast(a0.z, 7u) * b0 + subgroupBroadcast(a1.z, 7u) * b1;
      acc[31] += subgroupBroadcast(a0.w, 7u) * b0 + subgroupBroadcast(a1.w, 7u) * b1;
    }
  }

  if (col4 >= f4) { return; }
  let row_p = panel_row(p, n) - panel_row(params.panel, n);
  for (var i = 0u; i < 4u * LANES; i++) {
    if (row + i >= params.f) { break; }
    sum[(row_p + row + i - 64u * p) * 16u + thread] += acc[i];
  }
}
