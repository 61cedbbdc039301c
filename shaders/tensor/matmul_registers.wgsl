// Matrix product for GPUs: 8 x 8 sums a thread, the next block on its way while this one is used.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: 4 vec4 from workgroup memory feed 64 products, so the
// multipliers decide and not that memory. It holds two blocks: a thread fetches its part of the
// next one, multiplies the present one while that is on its way and then writes it to the other
// half, which saves a barrier and hides the fetch.
// Tried and not better: 4 x 4 sums in each of 256 threads, one block at a time (1.0 to 1.6 times as
// long on software adapters).
//
// Shapes   a [M, K]; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c may be column
//          windows. Any sizes of 4 elements or more. HALF: 16 bits, two values a word, low half
//          first. ODD: rows of a or b are not whole, aligned quads, and are read one by one.
// Work     a workgroup of 8 x 8 threads makes a tile of 64 x 64; blocks of 16 k. A thread fetches
//          4 x 4 elements of a and of b, and owns rows y, y + 8 and columns x, x + 8, in quads.
// Cost     2 M N K flops; reads a N / 64 times and b M / 64 times. 16 KiB of workgroup memory.
// Numerics one f32 sum in the order of k.
// Source   Volkov and Demmel 2008, section 4 (sums in registers, blocks in shared memory).
// Test     test/matmul.test.ts

override TRANSPOSED: u32 = 0u;
override HALF: u32 = 0u; // 1: b is f16, 2: bf16
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> a1: array<f32>; // a once more
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read> b2: array<u32>; // b once more
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

var<workgroup> a_block: array<vec4f, 512>; // [half][k][row / 4]
var<workgroup> b_block: array<vec4f, 512>; // [half][k][column / 4]

const FOUR = vec4u(0u, 1u, 2u, 3u);

// a[i, k .. k + 3], zero beyond the edges.
fn quad_of_a(i: u32, k: u32) -> vec4f {
  if (i >= params.m || k >= params.k) { return vec4f(); }
  let at = params.a_first + i * params.a_stride + k;
  if (ODD == 0u) { return a[at / 4u]; }
  let e = min(at + FOUR, vec4u(at + params.k - 1u - k));
  return select(vec4f(), vec4f(a1[e.x], a1[e.y], a1[e.z], a1[e.w]), k + FOUR < vec4u(params.k));
}

// Two 16-bit numbers of a word.
fn halves(word: u32) -> vec2f {
  if (HALF == 2u) { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
  return unpack2x16float(word);
}

fn weight(e: u32) -> f32 {
  if (HALF == 0u) { return bitcast<f32>(b2[e]); }
  return halves(b2[e / 2u] >> (16u * (e & 1u))).x;
}

// Four elements of a row of b as it is stored, zero beyond the edges.
fn quad_of_b(row: u32, column: u32) -> vec4f {
  let rows = select(params.k, params.n, TRANSPOSED == 1u);
  let columns = select(params.n, params.k, TRANSPOSED == 1u);
  if (row >= rows || column >= columns) { return vec4f(); }
  let at = row * columns + column;
  if (ODD == 0u && HALF == 0u) { return b[at / 4u]; }
  if (ODD == 0u) {
    return vec4f(halves(b2[at / 2u]), halves(b2[at / 2u + 1u]));
  }
  let e = min(at + FOUR, vec4u(at + columns - 1u - column));
  let quad = vec4f(weight(e.x), weight(e.y), weight(e.z), weight(e.w));
  return select(vec4f(), quad, column + FOUR < vec4u(columns));
}

// Four rows of a from i, four k from k: a column of the result for each k.
fn fetch_a(i: u32, k: u32) -> mat4x4f {
  return transpose(mat4x4f(
    quad_of_a(i, k), quad_of_a(i + 1u, k), quad_of_a(i + 2u, k), quad_of_a(i + 3u, k),
  ));
}

// Four k of b from k, four columns from j: a column of the result for each k.
fn fetch_b(k: u32, j: u32) -> mat4x4f {
  let row = select(k, j, TRANSPOSED == 1u);
  let column = select(j, k, TRANSPOSED == 1u);
  let quads = mat4x4f(
    quad_of_b(row, column), quad_of_b(row + 1u, column),
    quad_of_b(row + 2u, column), quad_of_b(row + 3u, column),
  );
  if (TRANSPOSED == 1u) { return transpose(quads); }
  return quads;
}

// A column of the result for each element of x: x[i] y.
fn outer(x: vec4f, y: vec4f) -> mat4x4f { return mat4x4f(x.x * y, x.y * y, x.z * y, x.w * y); }

// (c[i,j] +) sum + bias[j], four columns from j
fn store_row(i: u32, j: u32, sum: vec4f) {
  if (i >= params.m) { return; }
  for (var y = 0u; y < 4u; y++) {
    if (j + y >= params.n) { return; }
    var value = sum[y];
    if (params.biased == 1u) { value += bias[params.c_first + j + y]; }
    let e = params.c_first + i * params.c_stride + j + y;
    if (params.accumulate == 1u) { c[e] += value; } else { c[e] = value; }
  }
}

fn store(i: u32, j: u32, sums: mat4x4f) {
  store_row(i, j, sums[0]);
  store_row(i + 1u, j, sums[1]);
  store_row(i + 2u, j, sums[2]);
  store_row(i + 3u, j, sums[3]);
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  // Neighbours read neighbours: along k in a and in a transposed b, else along the columns.
  let along = vec2u(thread / 4u, thread % 4u); // row of quads, and which four k
  let across = select(vec2u(thread % 16u, thread / 16u), along, TRANSPOSED == 1u);
  let i = 64u * group.x + 4u * along.x;
  let j = 64u * group.y + 4u * across.x;
  let a_to = 64u * along.y + along.x;
  let b_to = 64u * across.y + across.x;

  // Σₖ a[i,k] b[k,j], a block of 16 k at a time
  var top_left: mat4x4f; // a column for each row of c
  var top_right: mat4x4f;
  var low_left: mat4x4f;
  var low_right: mat4x4f;
  var next_a = fetch_a(i, 4u * along.y);
  var next_b = fetch_b(4u * across.y, j);
  var now = 0u;
  for (var k = 0u; k < params.k; k += 16u) {
    a_block[a_to + now] = next_a[0];
    a_block[a_to + now + 16u] = next_a[1];
    a_block[a_to + now + 32u] = next_a[2];
    a_block[a_to + now + 48u] = next_a[3];
    b_block[b_to + now] = next_b[0];
    b_block[b_to + now + 16u] = next_b[1];
    b_block[b_to + now + 32u] = next_b[2];
    b_block[b_to + now + 48u] = next_b[3];
    workgroupBarrier(); // everybody is done with the other half too
    next_a = fetch_a(i, k + 16u + 4u * along.y);
    next_b = fetch_b(k + 16u + 4u * across.y, j);
    for (var p = now; p < now + 256u; p += 16u) {
      let top = a_block[p + local.y];
      let low = a_block[p + local.y + 8u];
      let left = b_block[p + local.x];
      let right = b_block[p + local.x + 8u];
      top_left += outer(top, left);
      top_right += outer(top, right);
      low_left += outer(low, left);
      low_right += outer(low, right);
    }
    now = 256u - now;
  }

  let row = 64u * group.x + 4u * local.y;
  let column = 64u * group.y + 4u * local.x;
  store(row, column, top_left);
  store(row, column + 32u, top_right);
  store(row + 32u, column, low_left);
  store(row + 32u, column + 32u, low_right);
}
