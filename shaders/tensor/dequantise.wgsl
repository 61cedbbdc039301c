// Numbers out of GGUF's blocks: a few bits for each, and a scale in 16 bits.
//
//   Q4_0  y = d (q − 8)      Q5_0  y = d (q − 16)      Q4_1, Q5_1  y = d q + m      Q8_0  y = d q
//   Q4_K, Q5_K  y = d s_j q − d_min m_j     j = 0 … 7, a scale and a minimum for each 32 numbers
//   Q6_K        y = d s_j (q − 32)          j = 0 … 15, a signed scale for each 16 numbers
//
// Blocks of 32 are d, with MIN m, two halves; with FIVE the fifth bits of all q, 32 bits; then 16
// bytes whose low halves are the first 16 numbers' low bits, their high halves those of the other
// 16. Q8_0: d, and 32 signed bytes q.
//
// Q4_K and Q5_K are d and d_min; 12 bytes that hold s and m in 6 bits; with FIVE 32 bytes, whose
// bit j is the fifth bit of a number of part j; then 128 bytes: of every 32 the low halves are one
// part of 32 numbers, the high halves the next. s_j and m_j of the first four parts are the low 6
// bits of bytes j and 4 + j; of the others, their low 4 bits are a half of byte 4 + j, and their
// high 2 bits those of bytes j − 4 and j.
//
// Q6_K is 128 bytes of low bits: of every 64 the low halves are 64 numbers, the high halves the
// next 64; 64 bytes of high bits, two for a number: of every 32 each pair is 32 numbers; 16 signed
// bytes s; and d.
//
// Shapes   packed: whole blocks, of the bytes that src/blocks.ts says; y [N], N whole blocks.
// Work     one thread a number; grids beyond 65,535 groups are folded to two dimensions.
// Cost     4.6 to 5.1 bytes a number, 1 to 4 flops.
// Numerics d has 11 bits, s 8 at most and q 5: products are exact, and a sum rounds once, fused or
//          not.
// Source   ggml, `block_q4_0` to `block_q6_K`; gguf-py `quants.py`: bit for bit its float32.
// Test     test/dequantise.test.ts

override WG: u32 = 64u;
override KIND: u32 = 0u; // 0: blocks of 32, 1: Q8_0, 2: Q4_K and Q5_K, 3: Q6_K
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

fn signed_byte(at: u32) -> f32 { return f32(extractBits(i32(byte(at)), 0u, 8u)); }

// Number e of a block of 32 with 4 or 5 bits each.
fn of_32(block: u32, e: u32) -> f32 {
  let high = block + 2u + 2u * MIN;
  var q = (byte(high + 4u * FIVE + e % 16u) >> (4u * (e / 16u))) & 15u;
  if (FIVE == 1u) { q |= ((byte(high + e / 8u) >> (e % 8u)) & 1u) << 4u; }
  let d = half(block);
  if (MIN == 1u) { return d * f32(q) + half(block + 2u); }
  return d * f32(i32(q) - select(8, 16, FIVE == 1u));
}

// Number e of a block of Q4_K or Q5_K.
fn of_k(block: u32, e: u32) -> f32 {
  let j = e / 32u;
  let scales = block + 4u;
  var s = byte(scales + j) & 63u;
  var m = byte(scales + 4u + j) & 63u;
  if (j >= 4u) {
    let low = byte(scales + 4u + j);
    s = (low & 15u) | ((byte(scales + j - 4u) >> 2u) & 48u);
    m = (low >> 4u) | ((byte(scales + j) >> 2u) & 48u);
  }
  var q = (byte(scales + 12u + 32u * FIVE + e / 64u * 32u + e % 32u) >> (4u * (j % 2u))) & 15u;
  if (FIVE == 1u) { q |= ((byte(scales + 12u + e % 32u) >> j) & 1u) << 4u; }
  return half(block) * f32(s) * f32(q) - half(block + 2u) * f32(m);
}

// Number e of a block of Q6_K.
fn of_q6_k(block: u32, e: u32) -> f32 {
  let low = (byte(block + e / 128u * 64u + e % 64u) >> (4u * (e / 64u % 2u))) & 15u;
  let high = (byte(block + 128u + e / 128u * 32u + e % 32u) >> (2u * (e / 32u % 4u))) & 3u;
  let q = i32(low | (high << 4u)) - 32;
  return half(block + 208u) * signed_byte(block + 192u + e / 16u) * f32(q);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  if (KIND == 0u) { y[i] = of_32(i / 32u * (18u + 2u * MIN + 4u * FIVE), i % 32u); }
  if (KIND == 1u) { y[i] = signed_byte(i / 32u * 34u + 2u + i % 32u) * half(i / 32u * 34u); }
  if (KIND == 2u) { y[i] = of_k(i / 256u * (144u + 32u * FIVE), i % 256u); }
  if (KIND == 3u) { y[i] = of_q6_k(i / 256u * 210u, i % 256u); }
}
