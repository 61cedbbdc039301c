// Sums of squares of stretches of a tensor: the first stage of a Frobenius norm. Few numbers are
// left, which the second stage adds in float64.
//
//   part_g = Σ_i x_i²   over the WG · EACH elements of stretch g
//
// Shapes   x [n] f32, or words of two halves with HALF (n counts words); parts [ceil(n / (WG ·
//          EACH))].
// Work     one workgroup a stretch: threads in strides of WG, then a tree: a fixed order.
// Cost     4 bytes and 2 flops an element.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u; // a power of two
override EACH: u32 = 64u;
override HALF: u32 = 0u; // 1: f16, 2: bf16

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;

var<workgroup> sums: array<f32, WG>;

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
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
  // Σ_i x_i²
  var sum = 0.0;
  for (var i = start + lane; i < min(start + WG * EACH, params.n); i += WG) {
    if (HALF > 0u) {
      let pair = halves(x[i]);
      sum += dot(pair, pair);
    } else {
      let value = bitcast<f32>(x[i]);
      sum += value * value;
    }
  }
  sums[lane] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  if (lane == 0u && start < params.n) { parts[stretch] = sums[0]; }
}
