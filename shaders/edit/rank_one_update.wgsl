// The edit itself: W += u Λᵀ, in place.
//
//   W_fd += u_f Λ_d
//
// GPT-2 stores c_proj.weight as [F, D], the transpose of the paper's W.
//
// Shapes   w [rows, D], a window of W that starts at row `first`; u [F]; lambda [D].
// Work     one thread an element; grids beyond 65,535 groups are folded to two dimensions.
// Cost     8 bytes and 2 flops an element.
// Source   Meng et al. 2022, eq. 2.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { first: u32, rows: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> lambda: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.rows * params.d) { return; }
  w[i] += u[params.first + i / params.d] * lambda[i % params.d];
}
