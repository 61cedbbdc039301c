// Matrix product: a single row, the transpose of weights in strips, for software adapters
// with subgroups.
//
//   c[0,j] = Σₖ a[0,k] b[j,k]   (+ bias[j])   (+ c[0,j])
//
// What changed and why it is faster: a row of b is a column of the product, so lanes run along k: a
// read takes a whole row of a strip, 128 bytes in a piece, and 32 rows follow each other, which the
// core fetches ahead. With lanes along j, as in matmul_row, every read touched 8 places, and half
// of the time went into waiting for memory: 1.4 times as fast for GPT-2's unembedding, 50,257 x
// 768. A read of a costs as much as ten of texels, so it serves 32 rows (a quarter faster than 16).
// A core fetches ahead within a page only, so two strips are read in turns: the first lines of both
// are waited for at once (a fifth faster).
// Tried and not better: 4 or 8 rows at a time, 64 rows, three strips.
//
// Shapes   a [1, K]; b in strips (see pack_strips.wgsl) of [N, K]; bias [N]; c [1, N]; a and c may
//          be column windows. Any sizes; ODD: K, a's stride or its first element is no multiple of
//          4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes 32 columns; a lane adds up every eighth quad of k.
// Cost     2 N K flops, 4 N K bytes.
// Numerics a f32 sum a lane, then the sum over lanes.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // the subgroup size
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
@group(0) @binding(3) var b: texture_storage_2d_array<rgba32uint, read>;
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

// Σₖ r[k] b[y,k] of four k; at: their texel in a row of a strip, and the strip.
fn dot_row(r: vec4f, at: vec2u, y: u32) -> f32 {
  return dot(r, bitcast<vec4f>(textureLoad(b, vec2u(at.x, y), at.y)));
}

// The same of rows 2 y and 2 y + 1, which share a texel of 16-bit numbers.
fn dot_rows(r: vec4f, at: vec2u, y: u32) -> vec2f {
  let words = textureLoad(b, vec2u(at.x, y), at.y);
  return vec2f(
    dot(r, vec4f(halves(words.x), halves(words.y))),
    dot(r, vec4f(halves(words.z), halves(words.w))),
  );
}

// sum + the products of quad r of k with rows y .. y + 3 of b.
fn add_dots(sum: vec4f, r: vec4f, at: vec2u, y: u32) -> vec4f {
  if (HALF > 0u) {
    return sum + vec4f(dot_rows(r, at, y / 2u), dot_rows(r, at, y / 2u + 1u));
  }
  return sum + vec4f(
    dot_row(r, at, y), dot_row(r, at, y + 1u), dot_row(r, at, y + 2u), dot_row(r, at, y + 3u),
  );
}

// (c +) total + bias, four columns from j.
fn store(j: u32, total: vec4f, lane: u32) {
  if (lane >= 4u || j + lane >= params.n) { return; }
  let e = params.c_first + j + lane;
  var value = total[lane];
  if (params.biased == 1u) { value += bias[e]; }
  if (params.accumulate == 1u) { value += c[e]; }
  if (params.accumulate == 2u) { value += residual[e]; }
  c[e] = value;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
) {
  let j = group.y * 32u;
  // A layer holds 8,192 texels below each other: rows, or with HALF pairs of rows.
  let folded = select(8192u, 16384u, HALF > 0u);
  let y = j % folded;
  let fold = j / folded * params.b_strips;

  // Σₖ a[0,k] b[j,k], this lane's k; beyond K a is zero
  var sums: array<vec4f, 8>; // of 4 columns each
  for (var q = lane; 4u * q < params.k; q += 2u * lanes) {
    let a0 = quad_of_a(params.a_first, q);
    let a1 = quad_of_a(params.a_first, q + lanes);
    let at0 = vec2u(q % 8u, q / 8u + fold);
    let at1 = vec2u((q + lanes) % 8u, (q + lanes) / 8u + fold);
    sums[0] = add_dots(sums[0], a0, at0, y + 0u);
    sums[0] = add_dots(sums[0], a1, at1, y + 0u);
    sums[1] = add_dots(sums[1], a0, at0, y + 4u);
    sums[1] = add_dots(sums[1], a1, at1, y + 4u);
    sums[2] = add_dots(sums[2], a0, at0, y + 8u);
    sums[2] = add_dots(sums[2], a1, at1, y + 8u);
    sums[3] = add_dots(sums[3], a0, at0, y + 12u);
    sums[3] = add_dots(sums[3], a1, at1, y + 12u);
    sums[4] = add_dots(sums[4], a0, at0, y + 16u);
    sums[4] = add_dots(sums[4], a1, at1, y + 16u);
    sums[5] = add_dots(sums[5], a0, at0, y + 20u);
    sums[5] = add_dots(sums[5], a1, at1, y + 20u);
    sums[6] = add_dots(sums[6], a0, at0, y + 24u);
    sums[6] = add_dots(sums[6], a1, at1, y + 24u);
    sums[7] = add_dots(sums[7], a0, at0, y + 28u);
    sums[7] = add_dots(sums[7], a1, at1, y + 28u);
  }

  store(j + 0u, subgroupAdd(sums[0]), lane);
  store(j + 4u, subgroupAdd(sums[1]), lane);
  store(j + 8u, subgroupAdd(sums[2]), lane);
  store(j + 12u, subgroupAdd(sums[3]), lane);
  store(j + 16u, subgroupAdd(sums[4]), lane);
  store(j + 20u, subgroupAdd(sums[5]), lane);
  store(j + 24u, subgroupAdd(sums[6]), lane);
  store(j + 28u, subgroupAdd(sums[7]), lane);
}
