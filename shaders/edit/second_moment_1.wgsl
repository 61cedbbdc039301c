// Sum of outer products of keys: the definition. Every other rung must match it.
//
//   S_ij += Σ_t K_ti K_tj   for tokens t in first … first + tokens − 1
//
// Shapes   keys [T, F]; sum: lower panels of S from `panel` on, of n = ceil(F / 64) in all. Panel p
//          holds columns 64 p … 64 p + 63 of rows 64 p … 64 n − 1, row by row; panels follow each
//          other (src/edit/panels.ts).
// Work     one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost     F² tokens flops (half of the square), 8 F² tokens bytes of loads.
// Source   Meng et al. 2022, eq. 2 (C = K Kᵀ); kmeng01/rome `SecondMoment`.
// Test     test/second-moment.test.ts

override WG: u32 = 64u;

struct Params { f: u32, panel: u32, first: u32, tokens: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> keys: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;

// First row of panel p.
fn panel_row(p: u32, n: u32) -> u32 { return 64u * (p * n - (p * p - p) / 2u); }

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  // y counts panels, x counts stretches of WG elements in it; later panels are shorter.
  let n = (params.f + 63u) / 64u;
  let p = params.panel + group.y;
  let e = group.x * WG + thread; // element within the panel
  let row = 64u * p + e / 64u;
  let col = 64u * p + e % 64u;
  if (row >= params.f || col >= params.f) { return; }
  // Σ_t K_ti K_tj
  var total = 0.0;
  for (var t = params.first; t < params.first + params.tokens; t++) {
    total += keys[t * params.f + row] * keys[t * params.f + col];
  }
  let row_p = panel_row(p, n) - panel_row(params.panel, n);
  sum[row_p * 64u + e] += total;
}
