// The way back from strips: a matrix out of the texture that pack_strips.wgsl filled.
//
//   w[y, 32 s + 4 x ... + 3]  =  texel (x, y mod 8192) of layer s + ceil(C / 32) (y div 8192)
//
// Weights that only products read live in strips alone; this serves whoever else asks for them, bit
// for bit.
//
// Shapes   strips: ceil(C / 32) ceil(R / 8192) layers of 8 x min(R, 8192) texels; w: rows first ...
//          first + rows - 1 of [R, C], f32.
// Work     one thread a texel; grids beyond 65,535 groups are folded to two dimensions.
// Cost     8 bytes an element, no flops.
// Test     test/strips.test.ts

override WG: u32 = 64u;

// across: ceil(C / 32)
struct Params { first: u32, rows: u32, cols: u32, across: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var strips: texture_storage_2d_array<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let texels = (params.cols + 3u) / 4u;
  let row = i / texels;
  let t = i % texels;
  if (row >= params.rows) { return; }
  let y = params.first + row;
  let layer = t / 8u + y / 8192u * params.across;
  let value = textureLoad(strips, vec2u(t % 8u, y % 8192u), layer);
  for (var j = 0u; j < 4u; j++) {
    let col = 4u * t + j;
    if (col < params.cols) { w[row * params.cols + col] = value[j]; }
  }
}
