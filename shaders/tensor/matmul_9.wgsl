// Matrix product, rung 9: a single row, the transpose of weights in strips, for software adapters
// with subgroups.
//
//   c[0,j] = Σₖ a[0,k] b[j,k]   (+ bias[j])   (+ c[0,j])
//
// What changed and why it is faster: a row of b is a column of the product, so lanes run along k: a
// read takes a whole row of a strip, 128 bytes in a piece, and 16 rows follow each other, which the
// core fetches ahead. With lanes along j, as in rung 8, every read touched 8 places, and half of
// the time went into waiting for memory: 1.4 times as fast for GPT-2's unembedding, 50,257 x 768.
// Tried and not better: 4 rows at a time (20 % slower), 8 rows (alike).
//
// Shapes   a [1, K]; b in strips (see pack_strips.wgsl) of [N, K]; bias [N]; c [1, N]; a and c may
//          be column windows. Any sizes; ODD: K, a's stride or its first element is no multiple of
//          4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes 16 columns; a lane adds up every eighth quad of k.
// Cost     2 N K flops, 4 N K bytes.
// Numerics a f32 sum a lane, then the sum over lanes.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // the subgroup size
override ACCUMULATE: u32 = 0u;
override ODD: u32 = 0u;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  biased: u32,
  a_stride: u32, // from a row of a to the next
  a_first: u32, // first element of a
  c_stride: u32,
  c_first: u32,
  b_strips: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var b: texture_storage_2d_array<rgba32float, read>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

// a[row, 4 q .. 4 q + 3], zero beyond K; start: where the row begins.
fn quad_of_a(start: u32, q: u32) -> vec4f {
  if (ODD == 0u) { return select(vec4f(0.0), a[start / 4u + q], 4u * q < params.k); }
  let k = 4u * q + vec4u(0u, 1u, 2u, 3u);
  let at = start + k;
  return select(vec4f(0.0), vec4f(a1[at.x], a1[at.y], a1[at.z], a1[at.w]), k < vec4u(params.k));
}

// Σₖ r[k] b[y,k] of four k.
fn dot_row(r: vec4f, x: u32, y: u32, strip: u32) -> f32 {
  return dot(r, textureLoad(b, vec2u(x, y), strip));
}

// sum + the products of quad r of k with rows y .. y + 3 of b.
fn add_dots(sum: vec4f, r: vec4f, x: u32, y: u32, strip: u32) -> vec4f {
  return sum + vec4f(
    dot_row(r, x, y, strip), dot_row(r, x, y + 1u, strip),
    dot_row(r, x, y + 2u, strip), dot_row(r, x, y + 3u, strip),
  );
}

// (c +) total + bias, four columns from j.
fn store(j: u32, total: vec4f, lane: u32) {
  if (lane >= 4u || j + lane >= params.n) { return; }
  let e = params.c_first + j + lane;
  var value = total[lane];
  if (params.biased == 1u) { value += bias[e]; }
  if (ACCUMULATE == 1u) { c[e] += value; } else { c[e] = value; }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
) {
  let j = group.y * 16u;
  let y = j % 8192u;
  let fold = j / 8192u * params.b_strips;

  // Σₖ a[0,k] b[j,k], this lane's k; beyond K a is zero
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);
  for (var q = lane; 4u * q < params.k; q += lanes) {
    let mine = quad_of_a(params.a_first, q);
    let strip = q / 8u + fold;
    sum0 = add_dots(sum0, mine, q % 8u, y, strip);
    sum1 = add_dots(sum1, mine, q % 8u, y + 4u, strip);
    sum2 = add_dots(sum2, mine, q % 8u, y + 8u, strip);
    sum3 = add_dots(sum3, mine, q % 8u, y + 12u, strip);
  }

  store(j, subgroupAdd(sum0), lane);
  store(j + 4u, subgroupAdd(sum1), lane);
  store(j + 8u, subgroupAdd(sum2), lane);
  store(j + 12u, subgroupAdd(sum3), lane);
}
