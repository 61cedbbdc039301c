// The way back from strips: a matrix out of the texture that pack_strips.wgsl filled.
//
//   w[y, 32 s + 4 x ... + 3]  =  texel (x, y mod 8192) of layer s + ceil(C / 32) (y div 8192)
//
// or with HALF two rows a texel. Weights that only products read live in strips alone; this serves
// whoever else asks for them, bit for bit.
//
// Shapes   strips: see pack_strips.wgsl; w: rows first ... first + rows - 1 of [R, C] as words: an
//          f32 each, or with HALF two numbers of 16 bits.
// Work     one thread a texel, with HALF one a word of w; grids beyond 65,535 groups are folded to
//          two dimensions.
// Cost     8 bytes an element (HALF: 18), no flops.
// Test     test/strips.test.ts

override WG: u32 = 64u;
override HALF: u32 = 0u;

// across: ceil(C / 32)
struct Params { first: u32, rows: u32, cols: u32, across: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var strips: texture_storage_2d_array<rgba32uint, read>;
@group(0) @binding(2) var<storage, read_write> w: array<u32>;

fn texel(x: u32, y: u32) -> vec4u {
  return textureLoad(strips, vec2u(x % 8u, y % 8192u), x / 8u + y / 8192u * params.across);
}

// Element e of the part, 16 bits; zero beyond it.
fn half(e: u32) -> u32 {
  let row = e / params.cols;
  if (row >= params.rows) { return 0u; }
  let col = e % params.cols;
  let y = params.first + row;
  let word = texel(col / 4u, y / 2u)[2u * (y & 1u) + col / 2u % 2u];
  return (word >> (16u * (col & 1u))) & 0xffffu;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (HALF > 0u) {
    if (2u * i < params.rows * params.cols) { w[i] = half(2u * i) | (half(2u * i + 1u) << 16u); }
    return;
  }
  let texels = (params.cols + 3u) / 4u;
  let row = i / texels;
  let t = i % texels;
  if (row >= params.rows) { return; }
  let value = texel(t, params.first + row);
  for (var j = 0u; j < 4u; j++) {
    let col = 4u * t + j;
    if (col < params.cols) { w[row * params.cols + col] = value[j]; }
  }
}
