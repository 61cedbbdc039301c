// The way back from strips: a matrix out of the texture that pack_strips.wgsl filled.
//
//   w[y, c]  =  m[y, c], or m[c, y] with TRANSPOSED
//   m[y, 32 s + 4 x ... + 3]  =  texel (x, y mod 8192) of layer s + ceil(C / 32) (y div 8192)
//
// or with HALF two rows of m a texel. Weights that only products read live in strips alone; this
// serves whoever else asks for them, bit for bit.
//
// Shapes   strips: see pack_strips.wgsl; w: rows first ... first + rows - 1 of the whole matrix as
//          words: an f32 each, or with HALF two numbers of 16 bits.
// Work     one thread a word of w; grids beyond 65,535 groups are folded to two dimensions.
// Cost     20 bytes a word (HALF: 36), no flops.
// Test     test/strips.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u;
override TRANSPOSED: u32 = 0u;

// across: ceil(C / 32)
struct Params { first: u32, rows: u32, cols: u32, across: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var strips: texture_storage_2d_array<rgba32uint, read>;
@group(0) @binding(2) var<storage, read_write> w: array<u32>;

// Element e of the part; zero beyond it.
fn element(e: u32) -> u32 {
  if (e >= params.rows * params.cols) { return 0u; }
  var at = vec2u(params.first + e / params.cols, e % params.cols); // row and column of m
  if (TRANSPOSED == 1u) { at = at.yx; }
  let y = select(at.x, at.x / 2u, HALF > 0u);
  let t = at.y / 4u;
  let texel = textureLoad(strips, vec2u(t % 8u, y % 8192u), t / 8u + y / 8192u * params.across);
  if (HALF == 0u) { return texel[at.y % 4u]; }
  let word = texel[2u * (at.x & 1u) + at.y / 2u % 2u];
  return (word >> (16u * (at.y & 1u))) & 0xffffu;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (HALF == 0u) {
    if (i < params.rows * params.cols) { w[i] = element(i); }
  } else if (2u * i < params.rows * params.cols) {
    w[i] = element(2u * i) | (element(2u * i + 1u) << 16u);
  }
}
