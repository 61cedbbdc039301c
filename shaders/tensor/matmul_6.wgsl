// Matrix product, rung 6: weights in strips, for software adapters with subgroups of 4.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: a storage buffer is read lane by lane with a branch for every
// element; a texel of a storage texture is 16 bytes read at once and clamped without a branch. A
// strip also lies in memory in the order in which it is read, where the rows of a matrix are a page
// apart and miss every cache.
// Tried and not better: 2 texels a lane, 8 k a step (half the speed: too many values at once).
//
// Shapes   a [M, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [M, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a subgroup makes a tile of 16 rows x 16 columns; a lane owns 1 x 4 of them.
//          The tiles of the same columns follow each other (x = rows), while b is still in cache.
// Cost     2 M N K flops; reads a N / 16 times and b M / 16 times.
// Numerics f32 sums in the order of k, four products at a time, alike in rungs 3 to 9.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 16u; // four subgroups
override TRANSPOSED: u32 = 0u;
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

// Σₖ r[k] b[k] in the order of k.
fn product(b: mat4x4f, r: vec4f) -> vec4f {
  return r.x * b[0] + r.y * b[1] + r.z * b[2] + r.w * b[3];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x * 16u;
  let texel = (group.y * WG + thread - lane) * 1u + lane;

  // Lanes beyond the last row read it again and write nothing.
  let start0 = params.a_first + min(top + lane, params.m - 1u) * params.a_stride;
  let start1 = params.a_first + min(top + 4u + lane, params.m - 1u) * params.a_stride;
  let start2 = params.a_first + min(top + 8u + lane, params.m - 1u) * params.a_stride;
  let start3 = params.a_first + min(top + 12u + lane, params.m - 1u) * params.a_stride;

  // Σₖ a[i,k] b[k,j]
  var acc: array<vec4f, 16>;
  for (var q = 0u; q < k4; q += 1u) {
    let b00 = quad(q, texel);
    let a00 = quad_of_a(start0, q);
    let a01 = quad_of_a(start1, q);
    let a02 = quad_of_a(start2, q);
    let a03 = quad_of_a(start3, q);
    let r0a = row(a00, 0u);
    acc[0] = acc[0] + product(b00, r0a);
    let r0b = row(a00, 1u);
    acc[1] = acc[1] + product(b00, r0b);
    let r0c = row(a00, 2u);
    acc[2] = acc[2] + product(b00, r0c);
    let r0d = row(a00, 3u);
    acc[3] = acc[3] + product(b00, r0d);
    let r0e = row(a01, 0u);
    acc[4] = acc[4] + product(b00, r0e);
    let r0f = row(a01, 1u);
    acc[5] = acc[5] + product(b00, r0f);
    let r0g = row(a01, 2u);
    acc[6] = acc[6] + product(b00, r0g);
    let r0h = row(a01, 3u);
    acc[7] = acc[7] + product(b00, r0h);
    let r0i = row(a02, 0u);
    acc[8] = acc[8] + product(b00, r0i);
    let r0j = row(a02, 1u);
    acc[9] = acc[9] + product(b00, r0j);
    let r0k = row(a02, 2u);
    acc[10] = acc[10] + product(b00, r0k);
    let r0l = row(a02, 3u);
    acc[11] = acc[11] + product(b00, r0l);
    let r0m = row(a03, 0u);
    acc[12] = acc[12] + product(b00, r0m);
    let r0n = row(a03, 1u);
    acc[13] = acc[13] + product(b00, r0n);
    let r0o = row(a03, 2u);
    acc[14] = acc[14] + product(b00, r0o);
    let r0p = row(a03, 3u);
    acc[15] = acc[15] + product(b00, r0p);
  }
  let col = texel * 4u;

  // + bias[j] (+ c[i,j])
  let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
  let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
  let offset = select(vec4f(0.0), biases, params.biased == 1u);
  for (var i = 0u; i < 16u; i++) {
    if (top + i >= params.m) { break; }
    let sum = acc[i] + offset;
    for (var j = 0u; j < 4u; j++) {
      if (col + j >= params.n) { break; }
      let e = params.c_first + (top + i) * params.c_stride + col + j;
      if (ACCUMULATE == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
    }
  }
}
