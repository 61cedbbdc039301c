// The edit itself, W += u Λᵀ in place, where W is stored as 16-bit floats.
//
//   W_fd ← fl16(W_fd + u_f Λ_d)   to nearest, ties to even; beyond 65,504 to infinity
//
// The sum is taken in f32. pack2x16float leaves the rounding to the adapter, and unpack2x16float
// may flush subnormals, so both ways are spelled out in bits.
//
// Shapes   w [rows, D] in words of two halves, low half first: a window of W that starts at row
//          `first`; D even; u [F]; lambda [D].
// Work     one thread a word.
// Cost     4 bytes and 2 flops an element.
// Source   Meng et al. 2022, eq. 2; IEEE 754 binary16.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { first: u32, rows: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> lambda: array<f32>;
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
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u; } // NaN
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; } // 65,520 and more
  if (magnitude >= 0x38800000u) { return sign | (round_shift(magnitude, 13u) - (112u << 10u)); }
  if (magnitude < 0x33000000u) { return sign; } // below half of the smallest subnormal
  let fraction = (magnitude & 0x7fffffu) | 0x800000u;
  return sign | round_shift(fraction, 126u - (magnitude >> 23u)); // subnormal: units of 2^-24
}

fn widen(half: u32) -> f32 {
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

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (2u * i >= params.rows * params.d) { return; }
  let column = (2u * i) % params.d;
  let scale = u[params.first + (2u * i) / params.d];
  let low = widen(w[i] & 0xffffu) + scale * lambda[column];
  let high = widen(w[i] >> 16u) + scale * lambda[column + 1u];
  w[i] = narrow(low) | (narrow(high) << 16u);
}
