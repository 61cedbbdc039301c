// Numbers out of GGUF's blocks of 32 with 4 or 5 bits each: Q4_0, Q4_1, Q5_0, Q5_1.
//
//   y = d (q - 8),   Q5_0: d (q - 16);   with MIN (Q4_1, Q5_1): y = d q + m
//
// A block is d, with MIN m, two halves; with FIVE the fifth bits of all q, 32 bits; then 16 bytes
// whose low halves are the first 16 numbers' low bits, their high halves those of the other 16.
//
// Shapes   packed: whole blocks of 18 + 2 MIN + 4 FIVE bytes; y [N], N a multiple of 32.
// Work     one thread a number; grids beyond 65,535 groups are folded to two dimensions.
// Cost     4.6 to 5 bytes a number, 2 flops.
// Numerics d has 11 bits and q 5: their product is exact, and a sum rounds once, fused or not.
// Source   ggml, `block_q4_0` to `block_q5_1`; gguf-py `quants.py`: bit for bit its float32.
// Test     test/dequantise.test.ts

override WG: u32 = 64u;
override FIVE: u32 = 0u;
override MIN: u32 = 0u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The half at byte `at`, which is even; a subnormal one is a normal f32.
fn half(at: u32) -> f32 {
  let h = packed[at / 4u] >> (8u * (at & 2u));
  let fraction = h & 0x3ffu;
  let exponent = (h >> 10u) & 0x1fu;
  let normal = bitcast<f32>(((exponent + 112u) << 23u) | (fraction << 13u));
  let value = select(normal, f32(fraction) * 5.9604644775390625e-8, exponent == 0u);
  return select(value, -value, (h & 0x8000u) > 0u);
}

fn byte(at: u32) -> u32 { return (packed[at / 4u] >> (8u * (at & 3u))) & 0xffu; }

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  let block = i / 32u * (18u + 2u * MIN + 4u * FIVE);
  let e = i % 32u;
  let high = block + 2u + 2u * MIN;
  var q = (byte(high + 4u * FIVE + e % 16u) >> (4u * (e / 16u))) & 15u;
  if (FIVE == 1u) { q |= ((byte(high + e / 8u) >> (e % 8u)) & 1u) << 4u; }
  let d = half(block);
  if (MIN == 1u) {
    y[i] = d * f32(q) + half(block + 2u);
  } else {
    y[i] = d * f32(i32(q) - select(8, 16, FIVE == 1u));
  }
}
