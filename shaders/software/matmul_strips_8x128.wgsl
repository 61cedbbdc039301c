// Matrix product: tiles of 8 rows, weights in strips, for subgroups of 8.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j]),   or GELU of that, see gelu.wgsl
//
// What changed and why it is faster: up to 8 prompts at once would leave half of a tile of 16
// empty: 8 rows a tile are 1.3 times as fast. A group is one subgroup, so that narrow products keep
// both cores busy, and a lane owns four texels of a row, so that a load of a is worth more (6 to
// 8 % over two texels; one is 11 % slower, 8 k a step no faster).
// Tried and not better: the last 8 of 40 or 344 rows (22 and 37 % slower than half a tile of 16).
//
// Shapes   a [M, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [M, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a subgroup makes a tile of 8 rows x 128 columns; a lane owns 4 x 4 of them.
// Cost     2 M N K flops; reads a N / 128 times and b M / 8 times.
// Numerics f32; four k are added up first, then 1,024, then those sums: an edit sums its gradient
//          over the whole vocabulary here, which comes out twice as exact as with one sum.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // one subgroup
override TRANSPOSED: u32 = 0u;
override ODD: u32 = 0u;
override GELU: u32 = 0u;

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

fn texel_of_b(x: u32, y: u32, strip: u32) -> vec4f {
  return textureLoad(b, vec2u(x, y % 8192u), strip + y / 8192u * params.b_strips);
}

// Rows 4 q .. 4 q + 3 of b at the four columns of texel t.
fn quad(q: u32, t: u32) -> mat4x4f {
  let along = TRANSPOSED == 1u;
  let x = select(t, q, along);
  let y = 4u * select(q, t, along);
  let found = mat4x4f(
    texel_of_b(x % 8u, y, x / 8u), texel_of_b(x % 8u, y + 1u, x / 8u),
    texel_of_b(x % 8u, y + 2u, x / 8u), texel_of_b(x % 8u, y + 3u, x / 8u),
  );
  if (along) { return transpose(found); }
  return found;
}

// The four values of a that lane i holds, the same in every lane.
fn row(q: vec4f, i: u32) -> vec4f {
  return vec4f(subgroupShuffle(q.x, i), subgroupShuffle(q.y, i),
    subgroupShuffle(q.z, i), subgroupShuffle(q.w, i));
}

// acc[at ...] += Σₖ r[k] b[k] of four k, which are added up first: a quarter of the roundings.
fn add_row(acc: ptr<function, array<vec4f, 32>>, at: u32, r: vec4f, b: array<mat4x4f, 4>) {
  acc[at] += b[0] * r;
  acc[at + 1u] += b[1] * r;
  acc[at + 2u] += b[2] * r;
  acc[at + 3u] += b[3] * r;
}

fn gelu(x: f32) -> f32 {
  let c = clamp(x, -10.0, 10.0);
  let twice_z = 1.5957691216057308 * (c + 0.044715 * c * c * c);
  return select(x, 0.0, x < -10.0) / (1.0 + exp(-twice_z)); // a NaN stays one
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x * 8u;
  let texel = (group.y * WG + thread - lane) * 4u + lane;

  // Lanes beyond the last row read it again and write nothing.
  let start = params.a_first + min(top + lane, params.m - 1u) * params.a_stride;

  // Σₖ a[i,k] b[k,j], in blocks of 256 quads
  var acc: array<vec4f, 32>;
  var total: array<vec4f, 32>;
  for (var block = 0u; block < k4; block += 256u) {
    for (var i = 0u; i < 32u; i++) { acc[i] = vec4f(); }
    for (var q = block; q < min(k4, block + 256u); q++) {
      let b = array(
        quad(q, texel), quad(q, texel + 8u), quad(q, texel + 16u), quad(q, texel + 24u),
      );
      let a0 = quad_of_a(start, q);
      add_row(&acc, 0u, row(a0, 0u), b);
      add_row(&acc, 4u, row(a0, 1u), b);
      add_row(&acc, 8u, row(a0, 2u), b);
      add_row(&acc, 12u, row(a0, 3u), b);
      add_row(&acc, 16u, row(a0, 4u), b);
      add_row(&acc, 20u, row(a0, 5u), b);
      add_row(&acc, 24u, row(a0, 6u), b);
      add_row(&acc, 28u, row(a0, 7u), b);
    }
    for (var i = 0u; i < 32u; i++) { total[i] += acc[i]; }
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < 4u; x++) {
    let col = (texel + 8u * x) * 4u;
    let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < 8u; i++) {
      if (top + i >= params.m) { break; }
      let sum = total[i * 4u + x] + offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + (top + i) * params.c_stride + col + j;
        var value = sum[j];
        if (params.accumulate == 1u) { value += c[e]; }
        if (GELU == 1u) { value = gelu(value); }
        c[e] = value;
      }
    }
  }
}
