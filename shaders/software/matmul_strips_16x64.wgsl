// Matrix product: weights in strips, for software adapters with subgroups of 4.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: a texel is read by one call without a branch, where
// matmul_buffer_16x64 reads four words, each with a bounds check and a branch a lane (9 % slower).
// The texture is a sampled one: SwiftShader reads a storage texture word by word, like a buffer (15
// % slower).
// Tried and not better: see matmul_buffer_16x64; 2 or 3 texels a lane (8 and 3 % slower), 8 rows
// (23 %); 32 rows and 3 texels gain 15 %, but waste half of it on the last tile of most prompts.
//
// Shapes   a [M, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [M, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes 16 rows x 64 columns; a lane owns 4 x 4 of those.
//          The tiles of the same columns follow each other (x = rows), while b is still in cache.
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
  accumulate: u32, // 1: adds to what c holds, 2: to the residual
  b_strips: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var b: texture_2d_array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>; // laid out as c
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

// Masks and shifts: this adapter divides each lane for itself, even by a power of two.
fn texel_of_b(x: u32, y: u32) -> vec4u {
  return textureLoad(b, vec2u(x & 7u, y & 8191u), (x >> 3u) + (y >> 13u) * params.b_strips, 0);
}

// Row y of b, or with HALF rows 2 y and 2 y + 1.
fn row_of_b(x: u32, y: u32) -> vec4f { return bitcast<vec4f>(texel_of_b(x, y)); }

fn rows_of_b(x: u32, y: u32) -> mat2x4f {
  let words = texel_of_b(x, y);
  return mat2x4f(
    vec4f(halves(words.x), halves(words.y)), vec4f(halves(words.z), halves(words.w)),
  );
}

// Columns 4 t .. 4 t + 3 of b at rows 4 q .. 4 q + 3.
fn columns(q: u32, t: u32) -> mat4x4f {
  let along = TRANSPOSED == 1u;
  let x = select(t, q, along);
  let y = 4u * select(q, t, along);
  var found: mat4x4f;
  if (HALF == 0u) {
    found = mat4x4f(
      row_of_b(x, y), row_of_b(x, y + 1u), row_of_b(x, y + 2u), row_of_b(x, y + 3u),
    );
  } else {
    let upper = rows_of_b(x, y >> 1u);
    let lower = rows_of_b(x, (y >> 1u) + 1u);
    found = mat4x4f(upper[0], upper[1], lower[0], lower[1]);
  }
  if (along) { return found; }
  return transpose(found);
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
        var value = sum[j];
        if (params.accumulate == 1u) { value += c[e]; }
        if (params.accumulate == 2u) { value += residual[e]; }
        c[e] = value;
      }
    }
  }
}
