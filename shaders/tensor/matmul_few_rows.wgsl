// Matrix product for GPUs: up to 8 rows, as in generation and in the last steps of an edit.
//
//   c[i,j] = Σₖ a[i,k] b[k,j]   (+ bias[j])   (+ c[i,j])
//
// What changed and why it is faster: with few rows reading b is all that counts. matmul_registers
// leaves most of its tile empty, and its few groups wait for one block of b after another. Here a
// group makes a narrow strip of columns and its threads share out K, so that as many loads of b are
// under way as there are threads. Each quad of b serves all rows; sums are added up at the end.
//
// Shapes   a [M, K], M up to ROWS; b [K, N], or [N, K] with TRANSPOSED; bias [N]; c [M, N]; a and c
//          may be column windows. Any sizes of 4 elements or more. HALF: 16 bits, two values a
//          word, low half first. ODD: rows of a or b are not whole, aligned quads.
// Work     a workgroup makes 4 QUADS columns; of its WG / QUADS slices each takes every so many
//          quads of k. WG / QUADS is a power of two.
// Cost     2 M N K flops; reads b once, a N / (4 QUADS) times. 16 WG bytes of workgroup memory.
// Numerics f32; a slice sums in the order of k, the slices are added as a tree.
// Test     test/matmul.test.ts

override WG: u32 = 256u;
override QUADS: u32 = 4u;
override ROWS: u32 = 8u; // rows that are computed, at most 8
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

var<workgroup> partial: array<vec4f, WG>; // [slice][quad]

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

// (c[i,j] +) sum + bias[j], four columns from j
fn store(i: u32, j: u32, sum: vec4f) {
  for (var y = 0u; y < min(4u, params.n - min(j, params.n)); y++) {
    var value = sum[y];
    if (params.biased == 1u) { value += bias[params.c_first + j + y]; }
    let e = params.c_first + i * params.c_stride + j + y;
    if (params.accumulate == 1u) { c[e] += value; } else { c[e] = value; }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let slices = WG / QUADS;
  // Neighbours read neighbours: along k in a transposed b, else along the columns.
  let slice = select(thread / QUADS, thread % slices, TRANSPOSED == 1u);
  let quad = select(thread % QUADS, thread / slices, TRANSPOSED == 1u);
  let j = 4u * (group.x * QUADS + quad);

  // Σₖ a[i,k] b[k,j] over this slice, four k at a time
  var sums: array<vec4f, 8>;
  for (var k = 4u * slice; k < params.k; k += 4u * slices) {
    let row = select(k, j, TRANSPOSED == 1u);
    let column = select(j, k, TRANSPOSED == 1u);
    let block = mat4x4f(
      quad_of_b(row, column), quad_of_b(row + 1u, column),
      quad_of_b(row + 2u, column), quad_of_b(row + 3u, column),
    );
    for (var i = 0u; i < ROWS; i++) {
      let left = quad_of_a(i, k);
      if (TRANSPOSED == 1u) { sums[i] += left * block; } else { sums[i] += block * left; }
    }
  }

  for (var i = 0u; i < min(ROWS, params.m); i++) {
    // Σ over the slices
    workgroupBarrier(); // the row before has been read
    partial[slice * QUADS + quad] = sums[i];
    for (var half = WG / 2u; half >= QUADS; half /= 2u) {
      workgroupBarrier();
      if (thread < half) { partial[thread] += partial[thread + half]; }
    }
    workgroupBarrier();
    if (thread < QUADS) { store(i, 4u * (group.x * QUADS + thread), partial[thread]); }
  }
}
