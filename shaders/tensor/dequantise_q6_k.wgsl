// Numbers out of GGUF's blocks of 256 with 6 bits each: Q6_K.
//
//   y = d s_j (q - 32)        j = 0 ... 15, a signed scale of 8 bits for each 16 numbers
//
// A block is 128 bytes of low bits: of every 64 the low halves are 64 numbers, the high halves the
// next 64; 64 bytes of high bits, two for a number: of every 32 each pair is 32 numbers; 16 bytes
// s; and d, a half.
//
// Shapes   packed: whole blocks of 210 bytes; y [N], N a multiple of 256.
// Work     one thread a number; grids beyond 65,535 groups are folded to two dimensions.
// Cost     4.8 bytes a number, 2 flops.
// Numerics d has 11 bits, s 7 and q - 32 5, so that the product is exact.
// Source   ggml, `block_q6_K`; gguf-py `quants.py`: bit for bit its float32.
// Test     test/dequantise.test.ts

override WG: u32 = 64u;

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
  let block = i / 256u * 210u;
  let e = i % 256u;
  let low = (byte(block + e / 128u * 64u + e % 64u) >> (4u * (e / 64u % 2u))) & 15u;
  let high = (byte(block + 128u + e / 128u * 32u + e % 32u) >> (2u * (e / 32u % 4u))) & 3u;
  let s = extractBits(i32(byte(block + 192u + e / 16u)), 0u, 8u);
  y[i] = half(block + 208u) * f32(s) * f32(i32(low | (high << 4u)) - 32);
}
