// Matrix product: tiles in workgroup memory, for GPUs.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: a workgroup copies a block of a and of b into its own memory,
// where 256 threads read every element 64 times; a thread keeps 4 x 4 sums in registers, so one
// vec4 of a and one of b feed 16 products. Software adapters have no such memory: there the copies
// and barriers cost more than they save.
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows. Any sizes. HALF: 16 bits, two values a word, low half first.
// Work     a workgroup of 16 x 16 threads makes a tile of 64 x 64; blocks of 16 k, 8 KiB.
// Cost     2 M N K flops; reads a N / 64 times and b M / 64 times.
// Numerics one f32 sum in the order of k.
// Test     test/matmul.test.ts

override TRANSPOSED: u32 = 0u;
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

var<workgroup> a_block: array<array<vec4f, 16>, 16>; // [k][row / 4]
var<workgroup> b_block: array<array<vec4f, 16>, 16>; // [k][column / 4]

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

fn weight(i: u32) -> f32 {
  if (HALF == 0u) { return bitcast<f32>(b[i]); }
  return halves(b[i / 2u] >> (16u * (i & 1u))).x;
}

// Zero beyond the edges.
fn a_at(i: u32, k: u32) -> f32 {
  if (i >= params.m || k >= params.k) { return 0.0; }
  return a[params.a_first + i * params.a_stride + k];
}

fn b_at(k: u32, j: u32) -> f32 {
  if (j >= params.n || k >= params.k) { return 0.0; }
  return weight(select(k * params.n + j, j * params.k + k, TRANSPOSED == 1u));
}

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let top = group.x * 64u;
  let left = group.y * 64u;
  // Neighbours read neighbours: along k in a and in a transposed b, else along the columns.
  let ak = thread % 16u;
  let ai = thread / 16u;
  let bk = select(thread / 16u, thread % 16u, TRANSPOSED == 1u);
  let bj = select(thread % 16u, thread / 16u, TRANSPOSED == 1u);

  // Σₖ a[i,k] b[k,j], a block of 16 k at a time
  var acc: array<vec4f, 4>;
  for (var k = 0u; k < params.k; k += 16u) {
    let i = top + 4u * ai;
    let j = left + 4u * bj;
    a_block[ak][ai] = vec4f(
      a_at(i, k + ak), a_at(i + 1u, k + ak), a_at(i + 2u, k + ak), a_at(i + 3u, k + ak),
    );
    b_block[bk][bj] = vec4f(
      b_at(k + bk, j), b_at(k + bk, j + 1u), b_at(k + bk, j + 2u), b_at(k + bk, j + 3u),
    );
    workgroupBarrier();
    for (var p = 0u; p < 16u; p++) {
      let row = a_block[p][local.y];
      let column = b_block[p][local.x];
      acc[0] += row.x * column;
      acc[1] += row.y * column;
      acc[2] += row.z * column;
      acc[3] += row.w * column;
    }
    workgroupBarrier();
  }

  // + bias[j] (+ c[i,j])
  for (var x = 0u; x < 4u; x++) {
    let i = top + 4u * local.y + x;
    if (i >= params.m) { break; }
    for (var y = 0u; y < 4u; y++) {
      let j = left + 4u * local.x + y;
      if (j >= params.n) { break; }
      var sum = acc[x][y];
      if (params.biased == 1u) { sum += bias[params.c_first + j]; }
      let e = params.c_first + i * params.c_stride + j;
      if (params.accumulate == 1u) { c[e] += sum; } else { c[e] = sum; }
    }
  }
}
