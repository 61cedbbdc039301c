// Sum of chosen rows: the backward pass of add_at_rows.
//
//   dδ = Σ_r dy_r   over r in rows, in their order
//
// Shapes   dy [T, D], rows u32 [n], sum [D].
// Work     one thread a column; a fixed order of summation, so the same bits every time.
// Cost     4 n D bytes, n D flops.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.d) { return; }
  var total = 0.0;
  // Σ_r dy_r
  for (var j = 0u; j < params.n; j++) { total += dy[rows[j] * params.d + id.x]; }
  sum[id.x] = total;
}
