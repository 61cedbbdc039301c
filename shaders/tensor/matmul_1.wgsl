// Matrix product: the definition.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows. HALF: 16 bits, two values a word, low half first; a, bias and c stay f32.
// Work     one thread an element of c; grids beyond 65,535 groups are folded to two dimensions.
// Cost     2 M N K flops; reads every element of a N times and of b M times.
// Numerics one f32 sum in the order of k: its error grows as ε√K.
// Test     test/matmul.test.ts

override WG: u32 = 64u;
override TRANSPOSED: u32 = 0u;
override HALF: u32 = 0u; // 1: b is f16, 2: bf16


struct Params {
  m: u32,
  n: u32,
  k: u32,
  biased: u32,
  a_stride: u32, // from a row of a to the next
  a_first: u32, // first element of a
  c_stride: u32,
  c_first: u32,
  accumulate: u32, // adds to what c holds
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

fn weight(i: u32) -> f32 {
  if (HALF == 0u) { return bitcast<f32>(b[i]); }
  return halves(b[i / 2u] >> (16u * (i & 1u))).x;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let e = id.y * (groups.x * WG) + id.x;
  let i = e / params.n;
  let j = e % params.n;
  if (i >= params.m) { return; }

  // b[k,j] lies at start + k · step
  let start = select(j, j * params.k, TRANSPOSED == 1u);
  let step = select(params.n, 1u, TRANSPOSED == 1u);

  // Σₖ a[i,k] b[k,j]
  var sum = 0.0;
  let row = params.a_first + i * params.a_stride;
  for (var k = 0u; k < params.k; k++) { sum += a[row + k] * weight(start + k * step); }
  if (params.biased == 1u) { sum += bias[params.c_first + j]; }
  let at = params.c_first + i * params.c_stride + j;
  if (params.accumulate == 1u) { c[at] += sum; } else { c[at] = sum; }
}
