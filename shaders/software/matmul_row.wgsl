// Matrix product: a single row, weights in strips, for software adapters with subgroups.
//
//   c[0,j] = Σₖ a[0,k] b[k,j]   (+ bias[j])   (+ c[0,j]),   or GELU of that, see gelu.wgsl
//
// What changed and why it is faster: with a single row, as in generation, nothing is computed for
// rows that are not there, and a lane loads the quad of a that is its own, so that a is read once a
// tile. What is left is reading b. A read of a texel is a call, around which everything that is
// held in registers is stored and loaded again: so little is held, and a texel is used as soon as
// it is read (45 % faster than four at a time). The two texels of a lane lie in two strips, read in
// turns: where both begin a page, their first lines are waited for at once (5 %).
// Tried and not better: a loop over the quads unrolled by hand, groups of four subgroups.
//
// Shapes   a [1, K]; b in strips (see pack_strips.wgsl) of [K, N]; bias [N]; c [1, N]; a and c may
//          be column windows. Any sizes; ODD: K, a's stride or its first element is no multiple of
//          4. b_strips: strips that b has side by side.
// Work     a lane makes 2 x 4 columns.
// Cost     2 N K flops, 4 N K bytes.
// Numerics f32; four k are added up first, then those sums in the order of k.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u;
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
  accumulate: u32, // adds to what c holds
  b_strips: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var b: texture_storage_2d_array<rgba32uint, read>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

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

fn words_of_b(t: u32, y: u32) -> vec4u {
  return textureLoad(b, vec2u(t % 8u, y % 8192u), t / 8u + y / 8192u * params.b_strips);
}

fn texel_of_b(t: u32, k: u32) -> vec4f { return bitcast<vec4f>(words_of_b(t, k)); }

// r.x b[k] + r.y b[k + 1], k even: the two rows of one texel of 16-bit numbers.
fn two_rows(r: vec2f, t: u32, k: u32) -> vec4f {
  let words = words_of_b(t, k / 2u);
  return r.x * vec4f(halves(words.x), halves(words.y))
    + r.y * vec4f(halves(words.z), halves(words.w));
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
    if (GELU == 1u) { value = gelu(value); }
    c[e] = value;
  }
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
  @builtin(subgroup_size) lanes: u32,
) {
  let t = (group.y * WG + thread - lane) * 2u + lane; // this lane's texels in a row of b
  let u = t + lanes;

  // Σₖ a[0,k] b[k,j]; beyond K a is zero
  var sum = vec4f();
  var sum_u = vec4f();
  for (var q = 0u; 4u * q < params.k; q += lanes) {
    let mine = quad_of_a(params.a_first, q + lane);
    for (var i = 0u; i < lanes; i++) {
      let r = row(mine, i);
      let k = 4u * (q + i);
      if (HALF > 0u) {
        let upper = two_rows(r.xy, t, k);
        let upper_u = two_rows(r.xy, u, k);
        sum += upper + two_rows(r.zw, t, k + 2u);
        sum_u += upper_u + two_rows(r.zw, u, k + 2u);
        continue;
      }
      var four = r.x * texel_of_b(t, k);
      var four_u = r.x * texel_of_b(u, k);
      four += r.y * texel_of_b(t, k + 1u);
      four_u += r.y * texel_of_b(u, k + 1u);
      four += r.z * texel_of_b(t, k + 2u);
      four_u += r.z * texel_of_b(u, k + 2u);
      four += r.w * texel_of_b(t, k + 3u);
      four_u += r.w * texel_of_b(u, k + 3u);
      sum += four;
      sum_u += four_u;
    }
  }

  store(4u * t, sum);
  store(4u * u, sum_u);
}
