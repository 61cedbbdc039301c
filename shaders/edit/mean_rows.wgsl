// Mean of all rows: k* is the mean of the keys over the context templates.
//
//   mean = 1/n Σ_j x_j
//
// Shapes   x [n, D], mean [D].
// Work     one thread a column.
// Cost     4 n D bytes, n D flops.
// Source   Meng et al. 2022, eq. 3.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.d) { return; }
  var total = 0.0;
  // Σ_j x_j
  for (var j = 0u; j < params.n; j++) { total += x[j * params.d + id.x]; }
  mean[id.x] = total / f32(params.n);
}
