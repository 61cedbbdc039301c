// Matrix product: a single row, weights in strips, for software adapters with subgroups.
//
//   c[0,j] = Σₖ a[0,k] b[k,j]   (+ bias[j])   (+ c[0,j]),   or GELU of that, see gelu.wgsl
//
// What changed and why it is faster: with a single row, as in generation, nothing is computed for
// rows that are not there. What is left is reading b, and there the core waits for memory: a read
// of eight texels is a call of some 80 instructions, so that few of them are under way at once, and
// with texels that lie side by side each brings only two lines. So the lanes share out K: a call
// reads eight lines in eight pages, the next three find them in the cache, and a page that nobody
// has fetched ahead is waited for once for eight. 18 GB/s for 14 (two cores of a Xeon; a loop in C
// with as many streams: 24 with these calls, 30 without).
// Tried and not better: lanes along 2, 4 or 8 strips and K in as many parts fewer, with a read once
// for all lanes; 16 and 32 lines at once; two strips in turns; lines touched ahead by a call of
// their own; sections that begin at different places of their pages; a loop over the four rows.
//
// Shapes   a [1, K]; b in strips (see pack_strips.wgsl) of [K, N]; bias [N]; c [1, N]; a and c may
//          be column windows. Any sizes; ODD: K, a's stride or its first element is no multiple of
//          4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes the 32 columns of a strip; a lane adds up its section
//          of K, and then four of those columns (eight, where it has four lanes).
// Cost     2 N K flops, 4 N K bytes.
// Numerics f32; a sum a lane in the order of k, then the sum over lanes as a tree.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // the subgroup size, 4 or 8
override ODD: u32 = 0u;
override GELU: u32 = 0u;
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

// The place of a row of a strip; f16 rows lie two in a texel row.
struct Row { strip: u32, y: u32 }

fn words_of_b(x: u32, row: Row) -> vec4u { return textureLoad(b, vec2u(x, row.y), row.strip); }

// Σₖ r[k] b[k,j] of the four k of quad q, at the four columns of texel x of a strip.
fn four_rows(r: vec4f, x: u32, at: Row) -> vec4f {
  if (HALF == 0u) {
    return r.x * bitcast<vec4f>(words_of_b(x, at))
      + r.y * bitcast<vec4f>(words_of_b(x, Row(at.strip, at.y + 1u)))
      + r.z * bitcast<vec4f>(words_of_b(x, Row(at.strip, at.y + 2u)))
      + r.w * bitcast<vec4f>(words_of_b(x, Row(at.strip, at.y + 3u)));
  }
  let upper = words_of_b(x, at);
  let lower = words_of_b(x, Row(at.strip, at.y + 1u));
  return r.x * vec4f(halves(upper.x), halves(upper.y))
    + r.y * vec4f(halves(upper.z), halves(upper.w))
    + r.z * vec4f(halves(lower.x), halves(lower.y))
    + r.w * vec4f(halves(lower.z), halves(lower.w));
}

fn gelu(x: f32) -> f32 {
  let c = clamp(x, -10.0, 10.0);
  let twice_z = 1.5957691216057308 * (c + 0.044715 * c * c * c);
  return select(x, 0.0, x < -10.0) / (1.0 + exp(-twice_z)); // a NaN stays one
}

// (c +) sum + bias, four columns from j.
fn store(j: u32, sum: vec4f) {
  for (var i = 0u; i < 4u; i++) {
    if (j + i >= params.n) { break; }
    let e = params.c_first + j + i;
    var value = sum[i];
    if (params.biased == 1u) { value += bias[e]; }
    if (params.accumulate == 1u) { value += c[e]; }
    if (params.accumulate == 2u) { value += residual[e]; }
    if (GELU == 1u) { value = gelu(value); }
    c[e] = value;
  }
}

// One of two texels' sums, over this lane and the one `step` away, which takes the other.
fn halve(one: vec4f, other: vec4f, lane: u32, step: u32) -> vec4f {
  let upper = (lane & step) != 0u;
  let kept = select(one, other, upper);
  let given = select(other, one, upper);
  return kept + vec4f(
    subgroupShuffleXor(given.x, step), subgroupShuffleXor(given.y, step),
    subgroupShuffleXor(given.z, step), subgroupShuffleXor(given.w, step),
  );
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let strip = group.y;
  let section = ((params.k + 3u) / 4u + WG - 1u) / WG; // quads of a lane

  // Σₖ a[0,k] b[k,j] over this lane's k; beyond K a is zero
  var s: array<vec4f, 8>; // of a texel each
  for (var i = 0u; i < section; i++) {
    let q = lane * section + i;
    let r = quad_of_a(params.a_first, q);
    let y = q * select(4u, 2u, HALF > 0u);
    let at = Row(strip + y / 8192u * params.b_strips, y % 8192u);
    s[0] += four_rows(r, 0u, at);
    s[1] += four_rows(r, 1u, at);
    s[2] += four_rows(r, 2u, at);
    s[3] += four_rows(r, 3u, at);
    s[4] += four_rows(r, 4u, at);
    s[5] += four_rows(r, 5u, at);
    s[6] += four_rows(r, 6u, at);
    s[7] += four_rows(r, 7u, at);
  }

  // and over the lanes
  for (var x = 0u; x < 4u; x++) { s[x] = halve(s[x], s[x + 4u], lane, WG / 2u); }
  for (var x = 0u; x < 2u; x++) { s[x] = halve(s[x], s[x + 2u], lane, WG / 4u); }
  if (WG == 8u) {
    store(32u * strip + 4u * lane, halve(s[0], s[1], lane, 1u));
    return;
  }
  store(32u * strip + 8u * lane, s[0]);
  store(32u * strip + 8u * lane + 4u, s[1]);
}
