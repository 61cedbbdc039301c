// Narrows f32 to 16 bits, two values a word, rounding to nearest, ties to even.
//
//   y = fl16(x); f16: beyond 65,504 to infinity, below 2^-24 / 2 to zero
//
// pack2x16float leaves the rounding to the adapter, so the bits are made here.
//
// Shapes  x [N], packed [ceil(N / 2)] words, low half first.
// Work    one thread a word.
// Cost    4 N bytes in, 2 N out.
// Test    test/half.test.ts

override WG: u32 = 64u;
override BF16: u32 = 0u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> packed: array<u32>;

// value >> shift, rounded to nearest even.
fn round_shift(value: u32, shift: u32) -> u32 {
  let kept = value >> shift;
  let rest = value & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  let up = rest > half || (rest == half && (kept & 1u) == 1u);
  return kept + select(0u, 1u, up);
}

fn narrow(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return sign | select(0x7e00u, 0x7fc0u, BF16 == 1u); } // NaN
  if (BF16 == 1u) { return sign | round_shift(magnitude, 16u); }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; } // 65,520 and more round to infinity
  if (magnitude >= 0x38800000u) { return sign | (round_shift(magnitude, 13u) - (112u << 10u)); }
  if (magnitude < 0x33000000u) { return sign; } // below half of the smallest subnormal
  // Subnormal: the fraction with its leading one, shifted to units of 2^-24.
  let exponent = magnitude >> 23u;
  return sign | round_shift((magnitude & 0x7fffffu) | 0x800000u, 126u - exponent);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (2u * i >= params.n) { return; }
  var high = 0u;
  if (2u * i + 1u < params.n) { high = narrow(x[2u * i + 1u]); }
  packed[i] = narrow(x[2u * i]) | (high << 16u);
}
