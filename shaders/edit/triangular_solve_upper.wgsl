// Back substitution, one block of 64 unknowns: Lᵀ x = y, column-oriented, so that it reads one
// panel of L end to end, for N right-hand sides.
//
//   x_q = X_qᵀ (y_q − Σ_i L_iqᵀ x_i),   i > q,   X_q the inverse of the diagonal block L_qq
//
// Shapes   panel: q of n lower panels of L (src/edit/panels.ts), [64 (n − q), 64];
//          inverses [64 n, 64]; y, x [N, 64 n].
// Work     one workgroup a right-hand side: 16 columns of vec4 x 16 threads, each
//          takes every sixteenth row.
// Cost     64² (2 (n − q) − 1) flops.
// Source   Golub and Van Loan 2013, section 3.1.
// Test     test/solve.test.ts

struct Params { n: u32, q: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> panel: array<vec4f>;
@group(0) @binding(2) var<storage, read> inverses: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;

var<workgroup> parts: array<vec4f, 256>;
var<workgroup> rest: array<f32, 64>;

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let side = 64u * params.n * group.x; // where this right-hand side begins
  let q = params.q;
  // Σ_i L_iqᵀ x_i
  var sum = vec4f();
  for (var i = 64u + local.y; i < 64u * (params.n - q); i += 16u) {
    sum += panel[i * 16u + local.x] * x[side + 64u * q + i];
  }
  parts[thread] = sum;
  for (var half = 128u; half >= 16u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { parts[thread] += parts[thread + half]; }
  }
  workgroupBarrier();
  if (thread < 64u) { rest[thread] = y[side + 64u * q + thread] - parts[thread / 4u][thread % 4u]; }
  workgroupBarrier();
  // X_qᵀ (y_q − …)
  if (thread < 64u) {
    var value = 0.0;
    for (var k = thread; k < 64u; k++) {
      value += inverses[(64u * q + k) * 64u + thread] * rest[k];
    }
    x[side + 64u * q + thread] = value;
  }
}
