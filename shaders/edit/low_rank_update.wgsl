// Edits of any rank and storage: W += U Λ, or its transpose, in place.
//
//   W_ij += Σ_n left_in right_nj     in f32; 16-bit floats are rounded once, ties to even
//
// rank_one_update is the same for one pair of vectors and a W in f32. pack2x16float leaves the
// rounding to the adapter, and unpack2x16float may flush subnormals: both ways stand here in bits.
//
// Shapes   w [rows, cols], a window of W that starts at row `first`, as words: one f32, or two
//          halves of a row, low half first; left [·, rank], right [rank, ·] by the strides.
// Work     one thread a word.
// Cost     8 bytes an element (HALF: 4), 2 rank flops.
// Source   Meng et al. 2022, eq. 2; IEEE 754 binary16.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u; // 1: w is f16, 2: bf16

struct Params {
  first: u32,
  rows: u32,
  cols: u32,
  rank: u32,
  left_row: u32, // steps from one number of `left` and `right` to the next
  left_rank: u32,
  right_rank: u32,
  right_col: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<u32>;

// value >> shift, rounded to nearest even.
fn round_shift(value: u32, shift: u32) -> u32 {
  let kept = value >> shift;
  let rest = value & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  return kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u));
}

fn narrow(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (HALF == 2u && magnitude <= 0x7f800000u) { return round_shift(magnitude, 16u) | sign; }
  if (magnitude > 0x7f800000u) { return sign | select(0x7e00u, 0x7fc0u, HALF == 2u); } // NaN
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; } // 65,520 and more
  if (magnitude >= 0x38800000u) { return sign | (round_shift(magnitude, 13u) - (112u << 10u)); }
  if (magnitude < 0x33000000u) { return sign; } // below half of the smallest subnormal
  let fraction = (magnitude & 0x7fffffu) | 0x800000u;
  return sign | round_shift(fraction, 126u - (magnitude >> 23u)); // subnormal: units of 2^-24
}

fn widen(half: u32) -> f32 {
  if (HALF == 2u) { return bitcast<f32>(half << 16u); }
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) { // infinity and NaN
    return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u));
  }
  // A subnormal counts units of 2^-24, exactly an f32.
  if (magnitude < 0x400u) {
    return select(1.0, -1.0, sign != 0u) * f32(magnitude) * 5.9604644775390625e-8;
  }
  return bitcast<f32>(sign | ((magnitude << 13u) + 0x38000000u));
}

// before + Σ_n left_in right_nj
fn changed(before: f32, row: u32, col: u32) -> f32 {
  var sum = before;
  for (var n = 0u; n < params.rank; n++) {
    let l = left[(params.first + row) * params.left_row + n * params.left_rank];
    sum += l * right[n * params.right_rank + col * params.right_col];
  }
  return sum;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let element = select(i, 2u * i, HALF > 0u);
  if (element >= params.rows * params.cols) { return; }
  let row = element / params.cols;
  let col = element % params.cols;
  if (HALF == 0u) {
    w[i] = bitcast<u32>(changed(bitcast<f32>(w[i]), row, col));
    return;
  }
  let low = narrow(changed(widen(w[i] & 0xffffu), row, col));
  let high = narrow(changed(widen(w[i] >> 16u), row, col + 1u));
  w[i] = low | (high << 16u);
}
