// Forward substitution, one block of 64 unknowns: L y = b, row-oriented, for N right-hand sides.
//
//   y_q = X_q (b_q − Σ_p L_qp y_p),   p < q,   X_q the inverse of the diagonal block L_qq
//
// Shapes   l: panels from `first` on of n lower panels (src/edit/panels.ts); inverses [64 n, 64];
//          b, y [N, 64 n]. This dispatch adds panels first … end − 1; until end = q, y_q holds the
//          difference so far.
// Work     one workgroup a right-hand side: 64 rows x 4 threads, each takes every fourth panel.
// Cost     64² (2 q + 1) flops.
// Source   Golub and Van Loan 2013, section 3.1.
// Test     test/solve.test.ts

struct Params { n: u32, q: u32, first: u32, end: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> l: array<vec4f>;
@group(0) @binding(2) var<storage, read> inverses: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

var<workgroup> parts: array<f32, 256>;
var<workgroup> rest: array<f32, 64>;
var<workgroup> found: array<f32, 64>;

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(64, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let side = 64u * params.n * group.x; // where this right-hand side begins
  let row = local.x;
  // Σ_p L_qp y_p
  var sum = 0.0;
  for (var p = params.first + local.y; p < params.end; p += 4u) {
    let at = (panel_row(p) - panel_row(params.first) + 64u * (params.q - p) + row) * 16u;
    for (var k = 0u; k < 16u; k++) { sum += dot(l[at + k], y[side / 4u + 16u * p + k]); }
  }
  parts[64u * local.y + row] = sum;
  workgroupBarrier();
  if (local.y == 0u) {
    let sums = parts[row] + parts[64u + row] + parts[128u + row] + parts[192u + row];
    let i = side + 64u * params.q + row;
    var before = b[i];
    if (params.first > 0u) { before = y[i / 4u][i % 4u]; }
    rest[row] = before - sums;
  }
  workgroupBarrier();
  // X_q (b_q − …)
  if (local.y == 0u) {
    var value = 0.0;
    let at = (64u * params.q + row) * 64u;
    for (var k = 0u; k <= row; k++) { value += inverses[at + k] * rest[k]; }
    found[row] = select(rest[row], value, params.end == params.q);
  }
  workgroupBarrier();
  if (local.y == 0u && row < 16u) {
    let i = 4u * row;
    let at = side / 4u + 16u * params.q + row;
    y[at] = vec4f(found[i], found[i + 1u], found[i + 2u], found[i + 3u]);
  }
}
