// Matrix product: weights in strips, for software adapters with subgroups of 8.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j]),   or GELU of that, see gelu.wgsl
//
// What changed and why it is faster: a storage buffer is read lane by lane with a branch for every
// element; a texel of a storage texture is 16 bytes read at once and clamped without a branch. A
// strip also lies in memory in the order in which it is read, where the rows of a matrix are a page
// apart and miss every cache.
// ROWS and TEXELS: 16 x 3 in general. 8 x 4 up to 8 rows, where half a tile would be empty (1.3
// times as fast); there a lane's texels lie side by side, so that a call reads eight lines and the
// next three find them in the cache (5 to 8 %, see matmul_row). 24 x 2 for the 22 rows that an edit
// unembeds, which waste two rows and read b once (15 to 20 % faster).
// Measured on a core with AVX-512, 16 x 3: of its time 57 % are products and sums, 14 % reads of a,
// 19 % reads of texels. A third texel spreads the reads of a further (4 to 8 % over two), and
// groups of one subgroup leave no core idle at the end (20 % where N is 1,600; four before).
// Tried and not better: 24 or 32 rows in general, 16 x 4, 16 x 5, 24 x 3, 8 k a step (the loop
// outgrows the cache of decoded instructions), prefetching loads, a loop over the rows (not
// unrolled, a third of the speed), a barrier per block of k. a in a texture too gains 5 %, but must
// be copied.
//
// Shapes   a [M, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [M, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes ROWS rows x 32 TEXELS columns; a lane owns TEXELS x 4
//          of those. The tiles of the same columns follow each other (x = rows), while b is still
//          in cache.
// Cost     2 M N K flops; reads a N / (32 TEXELS) times and b M / ROWS times.
// Numerics f32; four k are added up first; with BLOCKS 1,024 of them, then those sums: an edit sums
//          its gradient over the whole vocabulary here, which comes out twice as exact as with one
//          sum. For fewer k a second set of sums is only spilled: without it, and with a read
//          before the first product, 4 to 10 % less processor time.
// Test     test/matmul.test.ts

enable subgroups;

override ROWS: u32 = 16u; // 8, 16 or 24
override TEXELS: u32 = 3u; // 2, 3 or 4; ROWS · TEXELS <= 48
override TRANSPOSED: u32 = 0u;
override ODD: u32 = 0u;
override GELU: u32 = 0u;
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
  accumulate: u32, // 1: adds to what c holds, 2: to the residual
  b_strips: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var b: texture_storage_2d_array<rgba32uint, read>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>; // laid out as c
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

const FOUR = vec4u(0u, 1u, 2u, 3u);

fn start_of_row(i: u32) -> u32 {
  return params.a_first + min(i, params.m - 1u) * params.a_stride;
}

// a[i, 4 q .. 4 q + 3], zero beyond K; start: where row i begins.
fn quad_of_a(start: u32, q: u32) -> vec4f {
  if (ODD == 0u) { return select(vec4f(0.0), a[start / 4u + q], 4u * q < params.k); }
  let k = 4u * q + FOUR;
  let at = start + k;
  return select(vec4f(0.0), vec4f(a1[at.x], a1[at.y], a1[at.z], a1[at.w]), k < vec4u(params.k));
}

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

fn texel_of_b(x: u32, y: u32) -> vec4u {
  return textureLoad(b, vec2u(x % 8u, y % 8192u), x / 8u + y / 8192u * params.b_strips);
}

// Row y of b, or with HALF rows 2 y and 2 y + 1.
fn row_of_b(x: u32, y: u32) -> vec4f { return bitcast<vec4f>(texel_of_b(x, y)); }

fn rows_of_b(x: u32, y: u32) -> mat2x4f {
  let words = texel_of_b(x, y);
  return mat2x4f(
    vec4f(halves(words.x), halves(words.y)), vec4f(halves(words.z), halves(words.w)),
  );
}

// Rows 4 q .. 4 q + 3 of b at the four columns of texel t.
fn quad_of_b(q: u32, t: u32) -> mat4x4f {
  let along = TRANSPOSED == 1u;
  let x = select(t, q, along);
  let y = 4u * select(q, t, along);
  var found: mat4x4f;
  if (HALF == 0u) {
    found = mat4x4f(
      row_of_b(x, y), row_of_b(x, y + 1u), row_of_b(x, y + 2u), row_of_b(x, y + 3u),
    );
  } else {
    let upper = rows_of_b(x, y / 2u);
    let lower = rows_of_b(x, y / 2u + 1u);
    found = mat4x4f(upper[0], upper[1], lower[0], lower[1]);
  }
  if (along) { return transpose(found); }
  return found;
}

alias Sums = array<vec4f, 48>; // [row · TEXELS + texel]

// sums += Σₖ a[row,k] b[k] of four k: those of a are what lane `lane` holds.
fn add_row(sums: ptr<function, Sums>, row: u32, a: vec4f, lane: u32, b: array<mat4x4f, 4>) {
  let r = vec4f(subgroupShuffle(a.x, lane), subgroupShuffle(a.y, lane),
    subgroupShuffle(a.z, lane), subgroupShuffle(a.w, lane));
  sums[row * TEXELS] += b[0] * r;
  sums[row * TEXELS + 1u] += b[1] * r;
  if (TEXELS > 2u) { sums[row * TEXELS + 2u] += b[2] * r; }
  if (TEXELS > 3u) { sums[row * TEXELS + 3u] += b[3] * r; }
}

fn add_eight_rows(sums: ptr<function, Sums>, row: u32, a: vec4f, b: array<mat4x4f, 4>) {
  add_row(sums, row, a, 0u, b);
  add_row(sums, row + 1u, a, 1u, b);
  add_row(sums, row + 2u, a, 2u, b);
  add_row(sums, row + 3u, a, 3u, b);
  add_row(sums, row + 4u, a, 4u, b);
  add_row(sums, row + 5u, a, 5u, b);
  add_row(sums, row + 6u, a, 6u, b);
  add_row(sums, row + 7u, a, 7u, b);
}

fn gelu(x: f32) -> f32 {
  let c = clamp(x, -10.0, 10.0);
  let twice_z = 1.5957691216057308 * (c + 0.044715 * c * c * c);
  return select(x, 0.0, x < -10.0) / (1.0 + exp(-twice_z)); // a NaN stays one
}

@compute @workgroup_size(8) // one subgroup
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x * ROWS;
  // A lane's texels: side by side, or a strip apart.
  let beside = TEXELS == 4u && TRANSPOSED == 0u;
  let apart = select(8u, 1u, beside);
  let texel = group.y * 8u * TEXELS + lane * select(1u, TEXELS, beside);

  // Lanes beyond the last row read it again and write nothing.
  let start0 = start_of_row(top + lane);
  let start1 = start_of_row(top + 8u + lane);
  let start2 = start_of_row(top + 16u + lane);

  // Σₖ a[i,k] b[k,j]; where K is long, in blocks of 256 quads
  var sums: Sums;
  var total: Sums;
  for (var q = 0u; q < k4; q++) {
    var b: array<mat4x4f, 4>;
    b[0] = quad_of_b(q, texel);
    b[1] = quad_of_b(q, texel + apart);
    if (TEXELS > 2u) { b[2] = quad_of_b(q, texel + 2u * apart); }
    if (TEXELS > 3u) { b[3] = quad_of_b(q, texel + 3u * apart); }
    let a0 = quad_of_a(start0, q);
    var a1: vec4f;
    var a2: vec4f;
    if (ROWS > 8u) { a1 = quad_of_a(start1, q); }
    if (ROWS > 16u) { a2 = quad_of_a(start2, q); }
    add_eight_rows(&sums, 0u, a0, b);
    if (ROWS > 8u) { add_eight_rows(&sums, 8u, a1, b); }
    if (ROWS > 16u) { add_eight_rows(&sums, 16u, a2, b); }
    if (BLOCKS == 1u && q % 256u == 255u) {
      for (var i = 0u; i < ROWS * TEXELS; i++) {
        total[i] += sums[i];
        sums[i] = vec4f();
      }
    }
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < TEXELS; x++) {
    let col = (texel + apart * x) * 4u;
    let js = params.c_first + min(col + FOUR, vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < ROWS; i++) {
      if (top + i >= params.m) { break; }
      var sum = sums[i * TEXELS + x];
      if (BLOCKS == 1u) { sum += total[i * TEXELS + x]; }
      sum += offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + (top + i) * params.c_stride + col + j;
        var value = sum[j];
        if (params.accumulate == 1u) { value += c[e]; }
        if (params.accumulate == 2u) { value += residual[e]; }
        if (GELU == 1u) { value = gelu(value); }
        c[e] = value;
      }
    }
  }
}
