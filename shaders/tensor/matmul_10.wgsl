// Matrix product, rung 10: tiles of 24 rows, weights in strips, for subgroups of 8.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: an edit unembeds 22 rows, one for each of 21 contexts and one
// for the essence prompt. Tiles of 16 rows (rung 5) compute 32 for them, tiles of 8 (rung 7) read b
// three times; one tile of 24 wastes two rows and reads b once: 15 to 20 % faster over 50,257
// tokens.
// Tried and not better: 24 rows in general (below 16 rows they waste more than they save, beyond 24
// they gain nothing), three texels a lane (144 sums: the loop outgrows the cache of instructions).
//
// Shapes   a [M, K]; b in strips (see pack_strips.wgsl) of [K, N], or of [N, K] with TRANSPOSED;
//          bias [N]; c [M, N]; a and c may be column windows. Any sizes; ODD: K, a's stride or its
//          first element is no multiple of 4. b_strips: strips that b has side by side.
// Work     a group is one subgroup and makes 24 rows x 64 columns; a lane owns 2 x 4 of those.
// Cost     2 M N K flops; reads a N / 64 times and b M / 24 times.
// Numerics f32; four k are added up first, then 1,024, then those sums: an edit sums its gradient
//          over the whole vocabulary here, which comes out twice as exact as with one sum.
// Test     test/matmul.test.ts

enable subgroups;

override WG: u32 = 8u; // one subgroup
override TRANSPOSED: u32 = 0u;
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

// sum + Σₖ r[k] b[k] of four k, which are added up first: a quarter of the roundings.
fn add_product(sum: vec4f, b: mat4x4f, r: vec4f) -> vec4f {
  return sum + (r.x * b[0] + r.y * b[1] + r.z * b[2] + r.w * b[3]);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let k4 = (params.k + 3u) / 4u;
  let top = group.x * 24u;
  let texel = (group.y * WG + thread - lane) * 2u + lane;

  // Lanes beyond the last row read it again and write nothing.
  let start0 = params.a_first + min(top + lane, params.m - 1u) * params.a_stride;
  let start1 = params.a_first + min(top + 8u + lane, params.m - 1u) * params.a_stride;
  let start2 = params.a_first + min(top + 16u + lane, params.m - 1u) * params.a_stride;

  // Σₖ a[i,k] b[k,j], in blocks of 256 quads
  var acc: array<vec4f, 48>;
  var total: array<vec4f, 48>;
  for (var block = 0u; block < k4; block += 256u) {
    for (var i = 0u; i < 48u; i++) { acc[i] = vec4f(); }
    for (var q = block; q < min(k4, block + 256u); q++) {
      let b0 = quad(q, texel);
      let b1 = quad(q, texel + 8u);
      let a0 = quad_of_a(start0, q);
      let a1 = quad_of_a(start1, q);
      let a2 = quad_of_a(start2, q);
      let r0 = row(a0, 0u);
      acc[0] = add_product(acc[0], b0, r0);
      acc[1] = add_product(acc[1], b1, r0);
      let r1 = row(a0, 1u);
      acc[2] = add_product(acc[2], b0, r1);
      acc[3] = add_product(acc[3], b1, r1);
      let r2 = row(a0, 2u);
      acc[4] = add_product(acc[4], b0, r2);
      acc[5] = add_product(acc[5], b1, r2);
      let r3 = row(a0, 3u);
      acc[6] = add_product(acc[6], b0, r3);
      acc[7] = add_product(acc[7], b1, r3);
      let r4 = row(a0, 4u);
      acc[8] = add_product(acc[8], b0, r4);
      acc[9] = add_product(acc[9], b1, r4);
      let r5 = row(a0, 5u);
      acc[10] = add_product(acc[10], b0, r5);
      acc[11] = add_product(acc[11], b1, r5);
      let r6 = row(a0, 6u);
      acc[12] = add_product(acc[12], b0, r6);
      acc[13] = add_product(acc[13], b1, r6);
      let r7 = row(a0, 7u);
      acc[14] = add_product(acc[14], b0, r7);
      acc[15] = add_product(acc[15], b1, r7);
      let r8 = row(a1, 0u);
      acc[16] = add_product(acc[16], b0, r8);
      acc[17] = add_product(acc[17], b1, r8);
      let r9 = row(a1, 1u);
      acc[18] = add_product(acc[18], b0, r9);
      acc[19] = add_product(acc[19], b1, r9);
      let r10 = row(a1, 2u);
      acc[20] = add_product(acc[20], b0, r10);
      acc[21] = add_product(acc[21], b1, r10);
      let r11 = row(a1, 3u);
      acc[22] = add_product(acc[22], b0, r11);
      acc[23] = add_product(acc[23], b1, r11);
      let r12 = row(a1, 4u);
      acc[24] = add_product(acc[24], b0, r12);
      acc[25] = add_product(acc[25], b1, r12);
      let r13 = row(a1, 5u);
      acc[26] = add_product(acc[26], b0, r13);
      acc[27] = add_product(acc[27], b1, r13);
      let r14 = row(a1, 6u);
      acc[28] = add_product(acc[28], b0, r14);
      acc[29] = add_product(acc[29], b1, r14);
      let r15 = row(a1, 7u);
      acc[30] = add_product(acc[30], b0, r15);
      acc[31] = add_product(acc[31], b1, r15);
      let r16 = row(a2, 0u);
      acc[32] = add_product(acc[32], b0, r16);
      acc[33] = add_product(acc[33], b1, r16);
      let r17 = row(a2, 1u);
      acc[34] = add_product(acc[34], b0, r17);
      acc[35] = add_product(acc[35], b1, r17);
      let r18 = row(a2, 2u);
      acc[36] = add_product(acc[36], b0, r18);
      acc[37] = add_product(acc[37], b1, r18);
      let r19 = row(a2, 3u);
      acc[38] = add_product(acc[38], b0, r19);
      acc[39] = add_product(acc[39], b1, r19);
      let r20 = row(a2, 4u);
      acc[40] = add_product(acc[40], b0, r20);
      acc[41] = add_product(acc[41], b1, r20);
      let r21 = row(a2, 5u);
      acc[42] = add_product(acc[42], b0, r21);
      acc[43] = add_product(acc[43], b1, r21);
      let r22 = row(a2, 6u);
      acc[44] = add_product(acc[44], b0, r22);
      acc[45] = add_product(acc[45], b1, r22);
      let r23 = row(a2, 7u);
      acc[46] = add_product(acc[46], b0, r23);
      acc[47] = add_product(acc[47], b1, r23);
    }
    for (var i = 0u; i < 48u; i++) { total[i] += acc[i]; }
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < 2u; x++) {
    let col = (texel + 8u * x) * 4u;
    let js = params.c_first + min(vec4u(col) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    let biases = vec4f(bias[js.x], bias[js.y], bias[js.z], bias[js.w]);
    let offset = select(vec4f(0.0), biases, params.biased == 1u);
    for (var i = 0u; i < 24u; i++) {
      if (top + i >= params.m) { break; }
      let sum = total[i * 2u + x] + offset;
      for (var j = 0u; j < 4u; j++) {
        if (col + j >= params.n) { break; }
        let e = params.c_first + (top + i) * params.c_stride + col + j;
        if (params.accumulate == 1u) { c[e] += sum[j]; } else { c[e] = sum[j]; }
      }
    }
  }
}
