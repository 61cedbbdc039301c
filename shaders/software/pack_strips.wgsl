// Copies a matrix into a texture array, a strip of 32 columns a layer.
//
//   texel (x, y mod 8192) of layer s + ceil(C / 32) (y div 8192)  =  m[y, 32 s + 4 x ... + 3]
//
// where m is w, or its transpose with TRANSPOSED.
//
// A strip then lies in memory without gaps, and 32 rows of it are a block of 4 KiB, which serves
// reading down the rows (the product with w) as well as along the columns (the product with its
// transpose).
//
// Shapes   w: rows first ... first + rows - 1 of the whole matrix, f32, or f16 with HALF (two a
//          word, low half first); first is a multiple of 4. strips: ceil(C / 32) ceil(R / 8192)
//          layers of 8 x min(R, 8192) texels for m [R, C]. What lies beyond C stays zero.
// Work     one thread a texel; grids beyond 65,535 groups are folded to two dimensions.
// Cost     8 bytes an element, no flops.
// Test     test/matmul.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u;
override TRANSPOSED: u32 = 0u;

// across: ceil(C / 32)
struct Params { first: u32, rows: u32, cols: u32, across: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var strips: texture_storage_2d_array<rgba32float, write>;

fn weight(row: u32, col: u32) -> f32 {
  if (row >= params.rows || col >= params.cols) { return 0.0; }
  let i = row * params.cols + col;
  if (HALF == 0u) { return bitcast<f32>(w[i]); }
  return unpack2x16float(w[i / 2u] >> (16u * (i & 1u))).x;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  var y: u32; // of m
  var t: u32; // columns 4 t ... 4 t + 3 of m
  var value: vec4f;
  if (TRANSPOSED == 0u) {
    let texels = (params.cols + 3u) / 4u;
    let row = i / texels;
    if (row >= params.rows) { return; }
    t = i % texels;
    y = params.first + row;
    for (var j = 0u; j < 4u; j++) { value[j] = weight(row, 4u * t + j); }
  } else {
    let row = i / params.cols * 4u;
    if (row >= params.rows) { return; }
    t = (params.first + row) / 4u;
    y = i % params.cols;
    for (var j = 0u; j < 4u; j++) { value[j] = weight(row + j, y); }
  }
  textureStore(strips, vec2u(t % 8u, y % 8192u), t / 8u + y / 8192u * params.across, value);
}
