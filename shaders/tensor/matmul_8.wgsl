// Matrix product, rung 8: a single row, weights in strips, for subgroups of 8.
//
//   c[0,j] = Σₖ a[0,k] b[k,j]   (+ bias[j])   (+ c[0,j])
//
// What changed and why it is faster: with a single row, rung 7 loads it once a lane and keeps one
// eighth of what it computes. Here a lane loads the quad of a that is its own, so that a is read
// once a tile, and nothing is computed for rows that are not there: what is left is reading b.
//
// Shapes   a [1, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [1, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a subgroup makes 64 columns; a lane owns 2 x 4 of them.
// Cost     2 N K flops, 4 N K bytes.
// Numerics one f32 sum in the order of k.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // one subgroup
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

// sum + Σₖ r[k] b[k], one product after another.
fn add_product(sum: vec4f, b: mat4x4f, r: vec4f) -> vec4f {
  return sum + r.x * b[0] + r.y * b[1] + r.z * b[2] + r.w * b[3];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x;
  let texel = (group.y * WG + thread - lane) * 2u + lane;

  // Σₖ a[0,k] b[k,j]; beyond K a is zero
  var acc: array<vec4f, 2>;
  for (var q = 0u; q < k4; q += 8u) {
    let mine = quad_of_a(params.a_first, q + lane);
    let r0 = row(mine, 0u);
    acc[0] = add_product(acc[0], quad(q, texel), r0);
    acc[1] = add_product(acc[1], quad(q, texel + 8u), r0);
    let r1 = row(mine, 1u);
    acc[0] = add_product(acc[0], quad(q + 1u, texel), r1);
    acc[1] = add_product(acc[1], quad(q + 1u, texel + 8u), r1);
    let r2 = row(mine, 2u);
    acc[0] = add_product(acc[0], quad(q + 2u, texel), r2);
    acc[1] = add_product(acc[1], quad(q + 2u, texel + 8u), r2);
    let r3 = row(mine, 3u);
    acc[0] = add_product(acc[0], quad(q + 3u, texel), r3);
    acc[1] = add_product(acc[1], quad(q + 3u, texel + 8u), r3);
    let r4 = row(mine, 4u);
    acc[0] = add_product(acc[0], quad(q + 4u, texel), r4);
    acc[1] = add_product(acc[1], quad(q + 4u, texel + 8u), r4);
    let r5 = row(mine, 5u);
    acc[0] = add_product(acc[0], quad(q + 5u, texel), r5);
    acc[1] = add_product(acc[1], quad(q + 5u, texel + 8u), r5);
    let r6 = row(mine, 6u);
    acc[0] = add_product(acc[0], quad(q + 6u, texel), r6);
    acc[1] = add_product(acc[1], quad(q + 6u, texel + 8u), r6);
    let r7 = row(mine, 7u);
    acc[0] = add_product(acc[0], quad(q + 7u, texel), r7);
    acc[1] = add_product(acc[1], quad(q + 7u, texel + 8u), r7);
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < 2u; x++) {
    let col = (texel + 8u * x) * 4u;
    let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < 1u; i++) {
      if (top + i >= params.m) { break; }
      let sum = acc[i * 2u + x] + offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + (top + i) * params.c_stride + col + j;
        if (ACCUMULATE == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
      }
    }
  }
}
