// Weighted mean of the rows of each request: its key, over the context templates.
//
//   mean_r = Σ_j weight_j x_(r c + j)   over j < c
//
// Shapes   x [n c, D], weights [c] that sum up to 1, mean [n, D].
// Work     one thread a column of a request.
// Cost     4 n (c + 1) D bytes, 2 n c D flops.
// Source   Meng et al. 2022, eq. 3: all weights 1/c. Meng et al. 2023, `compute_ks`: the mean over
//          groups of contexts of the mean within each.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, c: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> mean: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n * params.d) { return; }
  let first = i / params.d * params.c;
  let column = i % params.d;
  var total = 0.0;
  // Σ_j weight_j x_(r c + j)
  for (var j = 0u; j < params.c; j++) {
    total += weights[j] * x[(first + j) * params.d + column];
  }
  mean[i] = total;
}
