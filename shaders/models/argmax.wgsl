// The token that a row of logits puts first.
//
//   y_r = min { v : x_rv = max_w x_rw },   or 2³² - 1 where a logit is NaN or the best is infinite
//
// Shapes   logits x [rows, V]; y u32 [rows].
// Work     one workgroup a row; thread j takes columns j, j + WG, ... WG is a power of two.
// Cost     4 rows V bytes.
// Numerics of equal logits the lowest id wins, in a thread and in the tree, so that the result does
//          not depend on WG. NaN and infinity are told by their bits: WGSL promises nothing of
//          them.
// Test     test/pick.test.ts

override WG: u32 = 128u;

struct Params { rows: u32, v: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

var<workgroup> top: array<f32, WG>;
var<workgroup> at: array<u32, WG>;

const NONE = 0xffffffffu;

// The bits of |x|; those of infinity are 0x7f800000, and a NaN's are above.
fn magnitude(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) j: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let start = row * params.v;

  // the thread's own best; column 0 where it has no column
  var best = logits[start];
  var id = 0u;
  var most = magnitude(best);
  for (var c = j; c < params.v; c += WG) {
    let x = logits[start + c];
    most = max(most, magnitude(x));
    if (x > best) {
      best = x;
      id = c;
    }
  }
  top[j] = best;
  at[j] = select(id, NONE, most > 0x7f800000u);
  workgroupBarrier();

  // of two bests the larger, of equal ones the lower id; none, where one of them is none
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (j < half) {
      let other = top[j + half];
      if (at[j] == NONE || at[j + half] == NONE) {
        at[j] = NONE;
      } else if (other > top[j] || (other == top[j] && at[j + half] < at[j])) {
        top[j] = other;
        at[j] = at[j + half];
      }
    }
    workgroupBarrier();
  }
  if (j == 0u) { y[row] = select(at[0], NONE, magnitude(top[0]) >= 0x7f800000u); }
}
