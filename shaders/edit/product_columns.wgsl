// A symmetric matrix times N vectors in two floats, second half: what lies above the diagonal, read
// as columns below.
//
//   part_j,s = Σ_i C_ij (x_i + x_low_i)
//              over rows i of the blocks s, s + SLICES, … below the diagonal block of j
//
// Shapes   c: panels first … end − 1 of n lower panels (src/edit/panels.ts); x, x_low [N, 64 n];
//          parts [N, 2 SLICES, 64 n] pairs high, low: here the last SLICES of each vector.
// Work     one thread four columns, a slice and a vector: id.y counts slices, then vectors.
// Cost     2 F² bytes, about 20 flops an element.
// Numerics as product_rows: products and sums carry their rounding errors along.
// Source   Ogita, Rump, Oishi 2005, algorithm 5.3 (Dot2); Dekker 1971.
// Test     test/two-float.test.ts

override WG: u32 = 16u;
override SLICES: u32 = 8u;

struct Params { n: u32, first: u32, end: u32, zero: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> x_low: array<f32>;
@group(0) @binding(4) var<storage, read_write> parts: array<vec2f>;

fn keep(x: vec4f) -> vec4f { return bitcast<vec4f>(bitcast<vec4u>(x) ^ vec4u(params.zero)); }

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let p = params.first + id.x / 16u;
  if (p >= params.end) { return; }
  let slice = id.y % SLICES;
  let vector = id.y / SLICES;
  let begin = 64u * params.n * vector;
  // Σ_i C_ij x_i
  var high = vec4f();
  var low = vec4f();
  for (var block = 1u + slice; block < params.n - p; block += SLICES) {
    let at = (panel_row(p) - panel_row(params.first) + 64u * block) * 16u + id.x % 16u;
    for (var i = 0u; i < 64u; i++) {
      let a = c[at + 16u * i];
      let b = x[begin + 64u * (p + block) + i];
      // a b = product + error exactly: 12 and 12 bits each, whose products fit 24
      let product = keep(a * b);
      let a_top = bitcast<vec4f>(bitcast<vec4u>(a) & vec4u(0xfffff000u));
      let b_top = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
      let a_rest = a - a_top;
      let b_rest = b - b_top;
      let error = ((a_top * b_top - product) + a_top * b_rest + a_rest * b_top) + a_rest * b_rest;
      // high + product = sum + slip exactly
      let sum = keep(high + product);
      let rest = keep(sum - high);
      let slip = (high - keep(sum - rest)) + (product - rest);
      high = sum;
      low += slip + (error + a * x_low[begin + 64u * (p + block) + i]);
    }
  }
  let to = (vector * 2u * SLICES + SLICES + slice) * 64u * params.n + 64u * p + 4u * (id.x % 16u);
  for (var j = 0u; j < 4u; j++) { parts[to + j] = vec2f(high[j], low[j]); }
}
