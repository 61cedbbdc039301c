// What a layer is asked to add: an even share of what the stream still lacks.
//
//   r = (z − h) / left   left: this layer and those after it
//
// Shapes   z, h, r [N, D].
// Work     one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost     12 N D bytes, 2 N D flops.
// Source   Meng et al. 2023, eq. 20; kmeng01/memit `execute_memit`.
// Test     test/mass.test.ts

override WG: u32 = 64u;

struct Params { n: u32, left: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> h: array<f32>;
@group(0) @binding(3) var<storage, read_write> r: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  r[i] = (z[i] - h[i]) / params.left;
}
