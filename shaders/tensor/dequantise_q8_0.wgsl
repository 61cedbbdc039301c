// Numbers out of GGUF's blocks of 32 bytes with a scale: Q8_0.
//
//   y = d q
//
// A block is d, a half, and 32 signed bytes q.
//
// Shapes   packed: whole blocks of 34 bytes; y [N], N a multiple of 32.
// Work     one thread a number; grids beyond 65,535 groups are folded to two dimensions.
// Cost     5.1 bytes a number, 1 flop.
// Source   ggml, `block_q8_0`; gguf-py `quants.py`: bit for bit its float32.
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
  let block = i / 32u * 34u;
  y[i] = f32(extractBits(i32(byte(block + 2u + i % 32u)), 0u, 8u)) * half(block);
}
