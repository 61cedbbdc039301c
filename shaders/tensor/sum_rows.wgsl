// Weighted sums of rows: the key of a request is the mean of its keys over the context templates,
// the gradient of its δ the sum over the rows where that was added.
//
//   y_r = Σ_j weight_j x_rows(j)   over starts_r ≤ j < starts_(r+1), in their order
//
// Shapes   x [T, D]; rows u32 [m], request by request, and weights [m]; starts u32 [n + 1];
//          y [n, D].
// Work     one thread a column of a request; a fixed order, so the same bits every time.
// Cost     4 (m + n) D bytes, 2 m D flops.
// Source   Meng et al. 2022, eq. 3: all weights 1/c. Meng et al. 2023, `compute_ks`: the mean over
//          groups of contexts of the mean within each.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n * params.d) { return; }
  let request = i / params.d;
  let column = i % params.d;
  var total = 0.0;
  // Σ_j weight_j x_rows(j)
  for (var j = starts[request]; j < starts[request + 1u]; j++) {
    total += weights[j] * x[rows[j] * params.d + column];
  }
  y[i] = total;
}
