// Random weights, made where they are wanted: numbers of mean 0 and a given deviation.
//
//   y_i = σ √6 (h(2 i) + h(2 i + 1) - 1),   h uniform on [0, 1): 24 bits of a hash of i and seed
//
// Shapes   y [n], a window of a tensor that starts at element `first`, as words: an f32 each, or
//          with HALF two f16, low half first.
// Work     one thread a word.
// Cost     4 bytes a word, about 20 flops an element.
// Numerics a sum of two uniforms on [-1/2, 1/2) has variance 1/6; |y| < 2.45 σ.
// Source   O'Neill 2014 (PCG): the output permutation as a hash.
// Test     test/half.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u;

struct Params { n: u32, first: u32, seed: u32, deviation: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

fn hash(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

fn uniform_of(counter: u32) -> f32 {
  return f32(hash(hash(counter) ^ params.seed) >> 8u) * 5.9604644775390625e-8; // 2^-24
}

fn draw(i: u32) -> f32 {
  let sum = uniform_of(2u * i) + uniform_of(2u * i + 1u) - 1.0;
  return params.deviation * 2.449489742783178 * sum;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (HALF == 0u) {
    if (i < params.n) { y[i] = bitcast<u32>(draw(params.first + i)); }
  } else if (2u * i < params.n) {
    let e = params.first + 2u * i;
    y[i] = pack2x16float(vec2f(draw(e), draw(e + 1u)));
  }
}
