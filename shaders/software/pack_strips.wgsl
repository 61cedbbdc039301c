// Copies a matrix into a texture array, a strip of 32 columns a layer.
//
//   texel (x, y mod 8192) of layer s + ceil(C / 32) (y div 8192)
//     =  m[y, 32 s + 4 x ... + 3],   or with HALF  m[2 y ... 2 y + 1, 32 s + 4 x ... + 3]
//
// where m is w, or its transpose with TRANSPOSED. Texels hold the bits of the numbers.
//
// A strip then lies in memory without gaps, and 32 rows of it are a block of 4 KiB, which serves
// reading down the rows (the product with w) as well as along the columns (the product with its
// transpose).
//
// Shapes   w: rows first ... first + rows - 1 of the whole matrix, f32, or with HALF numbers of 16
//          bits, of whatever kind (two a word, low half first); first is a multiple of 4. strips:
//          ceil(C / 32) ceil(R / 8192) layers of 8 x min(R, 8192) texels for m [R, C]; HALF: half
//          as many rows, of pairs. What lies beyond R and C is zero.
// Work     one thread a texel; grids beyond 65,535 groups are folded to two dimensions.
// Cost     8 bytes an element (HALF: 4), no flops.
// Test     test/matmul.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u;
override TRANSPOSED: u32 = 0u;

// across: ceil(C / 32)
struct Params { first: u32, rows: u32, cols: u32, across: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var strips: texture_storage_2d_array<rgba32uint, write>;

// The bits of w[row, col], or of m[col, row]; zero beyond the edges.
fn bits(row: u32, col: u32) -> u32 {
  if (row >= params.rows || col >= params.cols) { return 0u; }
  let i = row * params.cols + col;
  if (HALF == 0u) { return w[i]; }
  return (w[i / 2u] >> (16u * (i & 1u))) & 0xffffu;
}

// Element c of row r of the part of m that is packed.
fn element(r: u32, c: u32) -> u32 {
  if (TRANSPOSED == 1u) { return bits(c, r); }
  return bits(r, c);
}

fn texel(r: u32, c: u32) -> vec4u {
  if (HALF == 0u) {
    return vec4u(element(r, c), element(r, c + 1u), element(r, c + 2u), element(r, c + 3u));
  }
  return vec4u(
    element(r, c) | (element(r, c + 1u) << 16u),
    element(r, c + 2u) | (element(r, c + 3u) << 16u),
    element(r + 1u, c) | (element(r + 1u, c + 1u) << 16u),
    element(r + 1u, c + 2u) | (element(r + 1u, c + 3u) << 16u),
  );
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let each = select(1u, 2u, HALF > 0u); // rows of m in a texel
  var r: u32; // within the part
  var c: u32;
  var first = vec2u(); // row and column of m where the part begins
  if (TRANSPOSED == 0u) {
    let across = (params.cols + 3u) / 4u;
    r = i / across * each;
    c = i % across * 4u;
    if (r >= params.rows) { return; }
    first.x = params.first;
  } else {
    let down = (params.cols + each - 1u) / each;
    r = i % down * each;
    c = i / down * 4u;
    if (c >= params.rows) { return; }
    first.y = params.first;
  }
  let y = (first.x + r) / each;
  let t = (first.y + c) / 4u;
  textureStore(
    strips, vec2u(t % 8u, y % 8192u), t / 8u + y / 8192u * params.across, texel(r, c),
  );
}
