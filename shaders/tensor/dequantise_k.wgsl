// Numbers out of GGUF's blocks of 256 with 4 or 5 bits each: Q4_K, Q5_K.
//
//   y = d s_j q - d_min m_j        j = 0 ... 7, a scale and a minimum of 6 bits for each 32 numbers
//
// A block is d and d_min, two halves; 12 bytes that hold s and m; with FIVE 32 bytes, whose bit j
// is the fifth bit of a number of part j; then 128 bytes: of every 32 the low halves are one part
// of 32 numbers, the high halves the next. s_j and m_j of the first four parts are the low 6 bits
// of bytes j and 4 + j; of the others, their low 4 bits are a half of byte 4 + j, and their high 2
// bits those of bytes j - 4 and j.
//
// Shapes   packed: whole blocks of 144 + 32 FIVE bytes; y [N], N a multiple of 256.
// Work     one thread a number; grids beyond 65,535 groups are folded to two dimensions.
// Cost     4.6 bytes a number, 4 flops.
// Numerics d has 11 bits, s 6 and q 5: both products are exact, and the difference rounds once.
// Source   ggml, `block_q4_K`, `block_q5_K`; gguf-py `quants.py`: bit for bit its float32.
// Test     test/dequantise.test.ts

override WG: u32 = 64u;
override FIVE: u32 = 0u;

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
  let block = i / 256u * (144u + 32u * FIVE);
  let e = i % 256u;
  let j = e / 32u;
  let scales = block + 4u;

  // s_j and m_j
  var s = byte(scales + j) & 63u;
  var m = byte(scales + 4u + j) & 63u;
  if (j >= 4u) {
    let low = byte(scales + 4u + j);
    s = (low & 15u) | ((byte(scales + j - 4u) >> 2u) & 48u);
    m = (low >> 4u) | ((byte(scales + j) >> 2u) & 48u);
  }

  var q = (byte(scales + 12u + 32u * FIVE + e / 64u * 32u + e % 32u) >> (4u * (j % 2u))) & 15u;
  if (FIVE == 1u) { q |= ((byte(scales + 12u + e % 32u) >> j) & 1u) << 4u; }
  y[i] = half(block) * f32(s) * f32(q) - half(block + 2u) * f32(m);
}
