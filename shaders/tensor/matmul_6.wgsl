// Matrix product, rung 6: b lies in strips (see pack_strips.wgsl), for software adapters with
// subgroups of 4.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: a storage buffer is read lane by lane with a branch for every
// element; a texel of a storage texture is 16 bytes read at once and clamped without a branch. A
// strip also lies in memory in the order in which it is read, where the rows of a matrix are a page
// apart and miss every cache.
// Tried and not better: 8, 24 or 32 rows, 4 texels a lane, 4 or 16 k a step, prefetching loads, a
// barrier per block of k (a third of the speed). a in a texture too gains 5 %, but must be copied
// there first.
//
// Shapes   a [M, K]; b in strips of [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N];
//          a and c may be column windows; K, a's stride and first element are multiples of 4.
// Work     a subgroup makes a tile of 16 rows x 16 columns; a lane owns 1 x 4 adjacent columns.
//          The tiles of the same columns follow each other (x = rows), while b is still in cache.
// Cost     2 M N K flops; reads a N / 16 times and b M / 16 times.
// Numerics f32 sums in the order of k, four products at a time.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 16u; // four subgroups
override TRANSPOSED: u32 = 0u;
override ACCUMULATE: u32 = 0u;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  biased: u32,
  a_stride: u32, // from a row of a to the next
  a_first: u32, // first element of a
  c_stride: u32,
  c_first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var b: texture_storage_2d_array<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

// Rows 4 q .. 4 q + 3 of b at the four columns of texel t.
fn quad(q: u32, t: u32) -> mat4x4f {
  if (TRANSPOSED == 1u) {
    let x = q % 8u;
    let y = 4u * t;
    let strip = q / 8u;
    return transpose(mat4x4f(
      textureLoad(b, vec2u(x, y), strip), textureLoad(b, vec2u(x, y + 1u), strip),
      textureLoad(b, vec2u(x, y + 2u), strip), textureLoad(b, vec2u(x, y + 3u), strip),
    ));
  }
  let x = t % 8u;
  let y = 4u * q;
  let strip = t / 8u;
  return mat4x4f(
    textureLoad(b, vec2u(x, y), strip), textureLoad(b, vec2u(x, y + 1u), strip),
    textureLoad(b, vec2u(x, y + 2u), strip), textureLoad(b, vec2u(x, y + 3u), strip),
  );
}

// The four values of a that lane i holds, the same in every lane.
fn row(q: vec4f, i: u32) -> vec4f {
  return vec4f(subgroupShuffle(q.x, i), subgroupShuffle(q.y, i),
    subgroupShuffle(q.z, i), subgroupShuffle(q.w, i));
}

// Σₖ r[k] b[k] in the order of k, as rung 3 sums it: both rungs give the same bits.
fn product(b: mat4x4f, r: vec4f) -> vec4f {
  return r.x * b[0] + r.y * b[1] + r.z * b[2] + r.w * b[3];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = params.k / 4u;
  let a4 = params.a_stride / 4u;
  let top = group.x * 16u;
  let texel = (group.y * WG + thread - lane) * 1u + lane;

  let row0 = params.a_first / 4u + min(top + lane, params.m - 1u) * a4;
  let row1 = params.a_first / 4u + min(top + 4u + lane, params.m - 1u) * a4;
  let row2 = params.a_first / 4u + min(top + 8u + lane, params.m - 1u) * a4;
  let row3 = params.a_first / 4u + min(top + 12u + lane, params.m - 1u) * a4;

  // Σₖ a[i,k] b[k,j]
  var acc: array<vec4f, 16>;
  for (var q = 0u; q < k4; q += 1u) {
    let b00 = quad(q, texel);
    let a00 = a[row0 + q];
    let a01 = a[row1 + q];
    let a02 = a[row2 + q];
    let a03 = a[row3 + q];
    let r00 = row(a00, 0u);
    acc[0] = acc[0] + product(b00, r00);
    let r01 = row(a00, 1u);
    acc[1] = acc[1] + product(b00, r01);
    let r02 = row(a00, 2u);
    acc[2] = acc[2] + product(b00, r02);
    let r03 = row(a00, 3u);
    acc[3] = acc[3] + product(b00, r03);
    let r04 = row(a01, 0u);
    acc[4] = acc[4] + product(b00, r04);
    let r05 = row(a01, 1u);
    acc[5] = acc[5] + product(b00, r05);
    let r06 = row(a01, 2u);
    acc[6] = acc[6] + product(b00, r06);
    let r07 = row(a01, 3u);
    acc[7] = acc[7] + product(b00, r07);
    let r08 = row(a02, 0u);
    acc[8] = acc[8] + product(b00, r08);
    let r09 = row(a02, 1u);
    acc[9] = acc[9] + product(b00, r09);
    let r010 = row(a02, 2u);
    acc[10] = acc[10] + product(b00, r010);
    let r011 = row(a02, 3u);
    acc[11] = acc[11] + product(b00, r011);
    let r012 = row(a03, 0u);
    acc[12] = acc[12] + product(b00, r012);
    let r013 = row(a03, 1u);
    acc[13] = acc[13] + product(b00, r013);
    let r014 = row(a03, 2u);
    acc[14] = acc[14] + product(b00, r014);
    let r015 = row(a03, 3u);
    acc[15] = acc[15] + product(b00, r015);
  }

  for (var x = 0u; x < 1u; x++) {
    let col = (texel + 4u * x) * 4u;
    let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < 16u; i++) {
      if (top + i >= params.m) { break; }
      let sum = acc[i * 1u + x] + offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + (top + i) * params.c_stride + col + j;
        if (ACCUMULATE == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
      }
    }
  }
}
