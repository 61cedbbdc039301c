// Matrix product, rung 4: no workgroup memory, for software adapters with subgroups of 4.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: such an adapter turns a storage load into 4 scalar loads, each
// with a bounds check, so loads decide. Here each element of a is loaded by one lane and handed
// round with subgroupBroadcast, each element of b serves 16 rows, and no barrier switches between
// lanes.
// Tried and not better: 8 or 32 rows a lane, 1, 2 or 8 k a step, a read at one address by all lanes
// (a third of the speed), prefetching loads, register tiles without subgroups, explicit fma (not
// fused on lavapipe).
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows; K, a's stride and first element are multiples of 4; N too, unless TRANSPOSED.
// Work     a subgroup makes a tile of 16 rows x 16 columns; a lane owns 4 adjacent columns. The
//          tiles of the same columns follow each other (x = rows), so that their part of b stays in
//          cache.
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
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = params.k / 4u;
  let n4 = params.n / 4u;
  let a4 = params.a_stride / 4u;
  let row = group.x * 16u;
  let col = (group.y * WG + thread) * 4u;

  // Lanes beyond an edge read what lies at the edge and write nothing.
  let last = params.m - 1u;
  let row0 = params.a_first / 4u + min(row + lane, last) * a4;
  let row1 = params.a_first / 4u + min(row + 4u + lane, last) * a4;
  let row2 = params.a_first / 4u + min(row + 8u + lane, last) * a4;
  let row3 = params.a_first / 4u + min(row + 12u + lane, last) * a4;
  var at = vec4u(min(col / 4u, n4 - 1u));
  if (TRANSPOSED == 1u) { at = min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u)) * k4; }

  // Σₖ a[i,k] b[k,j]
  var acc: array<vec4f, 16>;
  for (var k = 0u; k < k4; k++) {
    var b0: vec4f;
    var b1: vec4f;
    var b2: vec4f;
    var b3: vec4f;
    if (TRANSPOSED == 1u) {
      let t = transpose(mat4x4f(b[at.x + k], b[at.y + k], b[at.z + k], b[at.w + k]));
      b0 = t[0]; b1 = t[1]; b2 = t[2]; b3 = t[3];
    } else {
      let first = 4u * k * n4 + at.x;
      b0 = b[first]; b1 = b[first + n4]; b2 = b[first + 2u * n4]; b3 = b[first + 3u * n4];
    }
    let a0 = a[row0 + k];
    let a1 = a[row1 + k];
    let a2 = a[row2 + k];
    let a3 = a[row3 + k];
    acc[0] += subgroupBroadcast(a0.x, 0u) * b0 + subgroupBroadcast(a0.y, 0u) * b1
      + subgroupBroadcast(a0.z, 0u) * b2 + subgroupBroadcast(a0.w, 0u) * b3;
    acc[1] += subgroupBroadcast(a0.x, 1u) * b0 + subgroupBroadcast(a0.y, 1u) * b1
      + subgroupBroadcast(a0.z, 1u) * b2 + subgroupBroadcast(a0.w, 1u) * b3;
    acc[2] += subgroupBroadcast(a0.x, 2u) * b0 + subgroupBroadcast(a0.y, 2u) * b1
      + subgroupBroadcast(a0.z, 2u) * b2 + subgroupBroadcast(a0.w, 2u) * b3;
    acc[3] += subgroupBroadcast(a0.x, 3u) * b0 + subgroupBroadcast(a0.y, 3u) * b1
      + subgroupBroadcast(a0.z, 3u) * b2 + subgroupBroadcast(a0.w, 3u) * b3;
    acc[4] += subgroupBroadcast(a1.x, 0u) * b0 + subgroupBroadcast(a1.y, 0u) * b1
      + subgroupBroadcast(a1.z, 0u) * b2 + subgroupBroadcast(a1.w, 0u) * b3;
    acc[5] += subgroupBroadcast(a1.x, 1u) * b0 + subgroupBroadcast(a1.y, 1u) * b1
      + subgroupBroadcast(a1.z, 1u) * b2 + subgroupBroadcast(a1.w, 1u) * b3;
    acc[6] += subgroupBroadcast(a1.x, 2u) * b0 + subgroupBroadcast(a1.y, 2u) * b1
      + subgroupBroadcast(a1.z, 2u) * b2 + subgroupBroadcast(a1.w, 2u) * b3;
    acc[7] += subgroupBroadcast(a1.x, 3u) * b0 + subgroupBroadcast(a1.y, 3u) * b1
      + subgroupBroadcast(a1.z, 3u) * b2 + subgroupBroadcast(a1.w, 3u) * b3;
    acc[8] += subgroupBroadcast(a2.x, 0u) * b0 + subgroupBroadcast(a2.y, 0u) * b1
      + subgroupBroadcast(a2.z, 0u) * b2 + subgroupBroadcast(a2.w, 0u) * b3;
    acc[9] += subgroupBroadcast(a2.x, 1u) * b0 + subgroupBroadcast(a2.y, 1u) * b1
      + subgroupBroadcast(a2.z, 1u) * b2 + subgroupBroadcast(a2.w, 1u) * b3;
    acc[10] += subgroupBroadcast(a2.x, 2u) * b0 + subgroupBroadcast(a2.y, 2u) * b1
      + subgroupBroadcast(a2.z, 2u) * b2 + subgroupBroadcast(a2.w, 2u) * b3;
    acc[11] += subgroupBroadcast(a2.x, 3u) * b0 + subgroupBroadcast(a2.y, 3u) * b1
      + subgroupBroadcast(a2.z, 3u) * b2 + subgroupBroadcast(a2.w, 3u) * b3;
    acc[12] += subgroupBroadcast(a3.x, 0u) * b0 + subgroupBroadcast(a3.y, 0u) * b1
      + subgroupBroadcast(a3.z, 0u) * b2 + subgroupBroadcast(a3.w, 0u) * b3;
    acc[13] += subgroupBroadcast(a3.x, 1u) * b0 + subgroupBroadcast(a3.y, 1u) * b1
      + subgroupBroadcast(a3.z, 1u) * b2 + subgroupBroadcast(a3.w, 1u) * b3;
    acc[14] += subgroupBroadcast(a3.x, 2u) * b0 + subgroupBroadcast(a3.y, 2u) * b1
      + subgroupBroadcast(a3.z, 2u) * b2 + subgroupBroadcast(a3.w, 2u) * b3;
    acc[15] += subgroupBroadcast(a3.x, 3u) * b0 + subgroupBroadcast(a3.y, 3u) * b1
      + subgroupBroadcast(a3.z, 3u) * b2 + subgroupBroadcast(a3.w, 3u) * b3;
  }

  let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
  let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
  let offset = select(vec4f(0.0), biases, params.biased == 1u);
  for (var i = 0u; i < 16u; i++) {
    if (row + i >= params.m) { break; }
    let sum = acc[i] + offset;
    for (var j = 0u; j < 4u; j++) {
      if (col + j >= params.n) { break; }
      let e = params.c_first + (row + i) * params.c_stride + col + j;
      if (ACCUMULATE == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
    }
  }
}
