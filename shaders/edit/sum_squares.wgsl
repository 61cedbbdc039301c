// Sums of squares of stretches of a tensor, or of the difference of two: the first stage of a
// Frobenius norm. Few numbers are left, which the second stage adds in float64.
//
//   part_g = Σ_i a_i²,   with DIFFERENCE Σ_i (a_i − b_i)²   over the WG · EACH words of stretch g
//
// Shapes   a, b [n] words: an f32 each, or with HALF two halves; parts [ceil(n / (WG · EACH))].
// Work     one workgroup a stretch: threads in strides of WG, then a tree: a fixed order.
// Cost     4 bytes and 2 flops a word; DIFFERENCE: 8 and 3.
// Test     test/edit-kernels.test.ts, test/sequence-norm.test.ts

override WG: u32 = 64u; // a power of two
override EACH: u32 = 64u;
override HALF: u32 = 0u; // 1: f16, 2: bf16
override DIFFERENCE: u32 = 0u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;

var<workgroup> sums: array<f32, WG>;

// The number or the two numbers of a word.
fn numbers(word: u32) -> vec2f {
  if (HALF == 0u) { return vec2f(bitcast<f32>(word), 0.0); }
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let stretch = group.y * groups.x + group.x;
  let start = stretch * WG * EACH;
  // Σ_i (a_i − b_i)²
  var sum = 0.0;
  for (var i = start + lane; i < min(start + WG * EACH, params.n); i += WG) {
    var pair = numbers(a[i]);
    if (DIFFERENCE == 1u) { pair -= numbers(b[i]); }
    sum += dot(pair, pair);
  }
  sums[lane] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  if (lane == 0u && start < params.n) { parts[stretch] = sums[0]; }
}
