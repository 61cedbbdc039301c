// Matrix product: no workgroup memory, for software adapters with subgroups of 8.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: such an adapter turns a storage load into 8 scalar loads, each
// with a bounds check, so loads decide. Here each element of a is loaded by one lane and handed
// round by subgroupShuffle, each element of b serves 16 rows, and no barrier switches lanes.
// Tried and not better: 8 or 32 rows, 1, 2 or 8 k a step, a read at one address by all lanes (a
// third of the speed), subgroupBroadcast (one instruction more), prefetching loads, register tiles
// without subgroups, explicit fma (lavapipe does not fuse).
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows. N is a multiple of 4, or K if TRANSPOSED. HALF: 16 bits, two values a word.
//          ODD: K, a's stride or its first element is no multiple of 4.
// Work     a subgroup makes a tile of 16 rows x 32 columns; a lane owns 4 adjacent columns. The
//          tiles of the same columns follow each other (x = rows), so that b stays in cache.
// Cost     2 M N K flops; reads a N / 32 times and b M / 16 times.
// Numerics f32; four k are added up first; with BLOCKS 1,024 of them, then those sums: the bits
//          that matmul_strips gives.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 32u; // four subgroups
override TRANSPOSED: u32 = 0u;
override ODD: u32 = 0u;
override BLOCKS: u32 = 0u; // sums in blocks of 1,024 k
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
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read> b2: array<vec2u>; // b once more
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

// a[row, 4 q .. 4 q + 3], zero beyond K; start: where the row begins.
fn quad_of_a(start: u32, q: u32) -> vec4f {
  if (ODD == 0u) { return select(vec4f(0.0), a[start / 4u + q], 4u * q < params.k); }
  let k = 4u * q + vec4u(0u, 1u, 2u, 3u);
  let at = start + k;
  return select(vec4f(0.0), vec4f(a1[at.x], a1[at.y], a1[at.z], a1[at.w]), k < vec4u(params.k));
}

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

// Four elements of b from element 4 i.
fn quad_of_b(i: u32) -> vec4f {
  if (HALF == 0u) { return b[i]; }
  let words = b2[i];
  return vec4f(halves(words.x), halves(words.y));
}

// Rows 4 q .. 4 q + 3 of b at four columns; at: their quad, or with TRANSPOSED where they begin.
fn quad(q: u32, at: vec4u) -> mat4x4f {
  if (TRANSPOSED == 1u) {
    return transpose(mat4x4f(
      quad_of_b(at.x + q), quad_of_b(at.y + q), quad_of_b(at.z + q), quad_of_b(at.w + q),
    ));
  }
  let n4 = params.n / 4u;
  let k = min(vec4u(4u * q) + vec4u(0u, 1u, 2u, 3u), vec4u(params.k - 1u)) * n4 + at.x;
  return mat4x4f(quad_of_b(k.x), quad_of_b(k.y), quad_of_b(k.z), quad_of_b(k.w));
}

// The four values of a that lane i holds, the same in every lane.
fn row(q: vec4f, i: u32) -> vec4f {
  return vec4f(subgroupShuffle(q.x, i), subgroupShuffle(q.y, i),
    subgroupShuffle(q.z, i), subgroupShuffle(q.w, i));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x * 16u;
  let col = (group.y * WG + thread) * 4u;

  // Lanes beyond an edge read what lies at the edge and write nothing.
  let start0 = params.a_first + min(top + lane, params.m - 1u) * params.a_stride;
  let start1 = params.a_first + min(top + 8u + lane, params.m - 1u) * params.a_stride;
  var at = vec4u(min(col, params.n - 1u) / 4u);
  if (TRANSPOSED == 1u) {
    at = min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u)) * (params.k / 4u);
  }

  // Σₖ a[i,k] b[k,j]; a matrix times a vector adds up four k first: a quarter of the roundings
  var acc: array<vec4f, 16>;
  var total: array<vec4f, 16>;
  for (var q = 0u; q < k4; q++) {
    let b4 = quad(q, at);
    let a0 = quad_of_a(start0, q);
    let a1 = quad_of_a(start1, q);
    acc[0] += b4 * row(a0, 0u);
    acc[1] += b4 * row(a0, 1u);
    acc[2] += b4 * row(a0, 2u);
    acc[3] += b4 * row(a0, 3u);
    acc[4] += b4 * row(a0, 4u);
    acc[5] += b4 * row(a0, 5u);
    acc[6] += b4 * row(a0, 6u);
    acc[7] += b4 * row(a0, 7u);
    acc[8] += b4 * row(a1, 0u);
    acc[9] += b4 * row(a1, 1u);
    acc[10] += b4 * row(a1, 2u);
    acc[11] += b4 * row(a1, 3u);
    acc[12] += b4 * row(a1, 4u);
    acc[13] += b4 * row(a1, 5u);
    acc[14] += b4 * row(a1, 6u);
    acc[15] += b4 * row(a1, 7u);
    if (BLOCKS == 1u && q % 256u == 255u) {
      for (var i = 0u; i < 16u; i++) {
        total[i] += acc[i];
        acc[i] = vec4f();
      }
    }
  }

  // + bias[j] (+ c[i,j])
  let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
  let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
  let offset = select(vec4f(0.0), biases, params.biased == 1u);
  for (var i = 0u; i < 16u; i++) {
    if (top + i >= params.m) { break; }
    var sum = acc[i];
    if (BLOCKS == 1u) { sum += total[i]; }
    sum += offset;
    for (var j = 0u; j < 4u; j++) {
      if (col + j >= params.n) { break; }
      let e = params.c_first + (top + i) * params.c_stride + col + j;
      if (params.accumulate == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
    }
  }
}
