// Sums of chosen rows, one for every request: the backward pass of add_at_rows.
//
//   dδ_r = Σ_j dy_rows(j)   over starts_r ≤ j < starts_(r+1), in their order
//
// Shapes   dy [T, D]; rows u32 [m], request by request; starts u32 [n + 1]; sum [n, D].
// Work     one thread a column of a request; a fixed order, so the same bits every time.
// Cost     4 (m + n) D bytes, m D flops.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> sum: array<f32>;

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
  // Σ_j dy_rows(j)
  for (var j = starts[request]; j < starts[request + 1u]; j++) {
    total += dy[rows[j] * params.d + column];
  }
  sum[i] = total;
}
