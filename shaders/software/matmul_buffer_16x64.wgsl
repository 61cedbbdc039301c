// Matrix product: no workgroup memory, for software adapters with subgroups of 4.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: such an adapter turns a storage load into 4 scalar loads, each
// with a bounds check. Here each element of a is loaded by one lane and handed round, each element
// of b serves 16 rows, and no barrier switches lanes. Handing round: a swap of lanes is a single
// instruction, a broadcast 25. So the i-th sum of a lane is not that of the lane beside it, but of
// row i ^ lane. SwiftShader keeps few values in registers, and a store into acc goes through a mask
// (15 instructions): eight k a store, and vector times matrix, which finishes one column before it
// begins the next (3 or 4 instructions for a product and its sum; scalar times vector takes 10).
// Tried and not better: 8 or 32 rows, 4 columns a lane instead of 16, 4 k a step (11 % slower), 16
// k and half the columns (5 %), reads at one address by all lanes (a third of the speed),
// prefetching loads, register tiles without subgroups, explicit fma.
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows. N is a multiple of 4, or K if TRANSPOSED. HALF: 16 bits, two values a word.
//          ODD: K, a's stride or its first element is no multiple of 4.
// Work     a group is one subgroup and makes 16 rows x 64 columns; a lane owns 4 x 4 of those.
//          The tiles of the same columns follow each other (x = rows), so that b stays in cache.
// Cost     2 M N K flops; reads a N / 64 times and b M / 16 times.
// Numerics f32; eight k are added up first, four and four, then those sums in the order of k.
// Test     test/matmul.test.ts

enable subgroups;

override TRANSPOSED: u32 = 0u;
override ODD: u32 = 0u;
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

// Columns 4 t .. 4 t + 3 of b at rows 4 q .. 4 q + 3; beyond an edge, what lies at the edge.
fn columns(q: u32, t: u32) -> mat4x4f {
  if (TRANSPOSED == 1u) {
    let k4 = params.k / 4u;
    let j = min(vec4u(4u * t) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let at = j * k4 + min(q, k4 - 1u);
    return mat4x4f(quad_of_b(at.x), quad_of_b(at.y), quad_of_b(at.z), quad_of_b(at.w));
  }
  let n4 = params.n / 4u;
  let k = min(vec4u(4u * q) + vec4u(0u, 1u, 2u, 3u), vec4u(params.k - 1u));
  let at = k * n4 + min(t, n4 - 1u);
  return transpose(mat4x4f(quad_of_b(at.x), quad_of_b(at.y), quad_of_b(at.z), quad_of_b(at.w)));
}

// Eight k of b at the four times four columns that a lane owns.
struct Tile { lo: array<mat4x4f, 4>, hi: array<mat4x4f, 4> }

fn tile_of_b(q: u32, t: u32) -> Tile {
  return Tile(
    array(columns(q, t), columns(q, t + 4u), columns(q, t + 8u), columns(q, t + 12u)),
    array(
      columns(q + 1u, t), columns(q + 1u, t + 4u),
      columns(q + 1u, t + 8u), columns(q + 1u, t + 12u),
    ),
  );
}

// Adds the product of one row of a with b to four sums; eight k are added up first.
fn add_row(acc: ptr<function, array<vec4f, 64>>, at: u32, lo: vec4f, hi: vec4f, b: Tile) {
  acc[at] = lo * b.lo[0] + hi * b.hi[0] + acc[at];
  acc[at + 1u] = lo * b.lo[1] + hi * b.hi[1] + acc[at + 1u];
  acc[at + 2u] = lo * b.lo[2] + hi * b.hi[2] + acc[at + 2u];
  acc[at + 3u] = lo * b.lo[3] + hi * b.hi[3] + acc[at + 3u];
}

// A lane's own row, then those of the other three: after all four, every lane has met every row.
fn add_rows(acc: ptr<function, array<vec4f, 64>>, at: u32, lo: vec4f, hi: vec4f, b: Tile) {
  add_row(acc, at, lo, hi, b);
  add_row(acc, at + 4u, quadSwapX(lo), quadSwapX(hi), b);
  add_row(acc, at + 8u, quadSwapY(lo), quadSwapY(hi), b);
  add_row(acc, at + 12u, quadSwapDiagonal(lo), quadSwapDiagonal(hi), b);
}

@compute @workgroup_size(4) // one subgroup
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let q_end = (params.k + 7u) / 8u * 2u;
  let top = group.x * 16u;
  let texel = group.y * 16u + lane;

  // Lanes beyond the last row read it again and write nothing.
  let start0 = params.a_first + min(top + lane, params.m - 1u) * params.a_stride;
  let start1 = params.a_first + min(top + 4u + lane, params.m - 1u) * params.a_stride;
  let start2 = params.a_first + min(top + 8u + lane, params.m - 1u) * params.a_stride;
  let start3 = params.a_first + min(top + 12u + lane, params.m - 1u) * params.a_stride;

  // Σₖ a[i,k] b[k,j]; acc[4 i + x] is of row top + (i ^ lane) and texel + 4 x
  var acc: array<vec4f, 64>;
  for (var q = 0u; q < q_end; q += 2u) {
    let b = tile_of_b(q, texel);
    add_rows(&acc, 0u, quad_of_a(start0, q), quad_of_a(start0, q + 1u), b);
    add_rows(&acc, 16u, quad_of_a(start1, q), quad_of_a(start1, q + 1u), b);
    add_rows(&acc, 32u, quad_of_a(start2, q), quad_of_a(start2, q + 1u), b);
    add_rows(&acc, 48u, quad_of_a(start3, q), quad_of_a(start3, q + 1u), b);
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < 4u; x++) {
    let col = (texel + 4u * x) * 4u;
    let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < 16u; i++) {
      let row = top + (i ^ lane);
      if (row >= params.m) { continue; }
      let sum = acc[4u * i + x] + offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + row * params.c_stride + col + j;
        if (params.accumulate == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
      }
    }
  }
}
