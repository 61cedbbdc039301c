// Widens 16-bit floats of a checkpoint to f32, bit by bit: no adapter's rounding has a say.
//
//   F16   sign 1 · exponent 5 · fraction 10:  x = (-1)^s 2^(e-15) (1 + f/1024);
//         e = 0: (-1)^s 2^-14 f/1024
//   BF16  the upper half of an f32
//
// Shapes  packed [ceil(N / 2)] words, two values each, low half first; y [N].
// Work    one thread a word.
// Cost    2 N bytes in, 4 N out.
// Test    test/half.test.ts

override WG: u32 = 64u;
override BF16: u32 = 0u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn widen(half: u32) -> u32 {
  if (BF16 == 1u) { return half << 16u; }
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 0x1fu;
  let fraction = half & 0x3ffu;
  if (exponent == 31u) { return sign | 0x7f800000u | (fraction << 13u); }
  if (exponent > 0u) { return sign | ((exponent + 112u) << 23u) | (fraction << 13u); }
  if (fraction == 0u) { return sign; }
  // A subnormal half is a normal f32: shift its leading one to the implicit place.
  let shift = countLeadingZeros(fraction) - 21u;
  return sign | ((113u - shift) << 23u) | (((fraction << shift) & 0x3ffu) << 13u);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (2u * i >= params.n) { return; }
  let word = packed[i];
  y[2u * i] = widen(word & 0xffffu);
  if (2u * i + 1u < params.n) { y[2u * i + 1u] = widen(word >> 16u); }
}
