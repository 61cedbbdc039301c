// A symmetric matrix times N vectors in two floats, first half: by the stored part of each row.
//
//   part_i,s = Σ_j C_ij (x_j + x_low_j)
//              over columns j of panels s, s + SLICES, …, up to the panel of row i
//
// Shapes   c: panels first … end − 1 of n lower panels (src/edit/panels.ts); x, x_low [N, 64 n];
//          parts [N, 2 SLICES, 64 n] pairs high, low: here the first SLICES of each vector. Panel 0
//          begins them, later ones add to them.
// Work     one thread a row from 64 first on, slice and vector: id.y counts slices, then vectors.
// Cost     2 F² bytes, about 20 flops an element.
// Numerics products and sums carry their rounding errors along (Dot2), as good as 48 bits:
//          residuals of a refined solution are differences of numbers 10^8 times as large.
//          Compilers simplify (a + b) − a, so `keep` passes values through the bits of `zero`,
//          which only the caller knows to be 0.
// Source   Ogita, Rump, Oishi 2005, algorithm 5.3 (Dot2); Dekker 1971.
// Test     test/two-float.test.ts

override WG: u32 = 64u;
override SLICES: u32 = 8u;

struct Params { n: u32, first: u32, end: u32, zero: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> x_low: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> parts: array<vec2f>;

fn keep(x: vec4f) -> vec4f { return bitcast<vec4f>(bitcast<vec4u>(x) ^ vec4u(params.zero)); }

fn keep_one(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.zero); }

// (high, low) + value
fn add(sum: vec2f, value: vec2f) -> vec2f {
  let high = keep_one(sum.x + value.x);
  let rest = keep_one(high - sum.x);
  return vec2f(high, (sum.x - keep_one(high - rest)) + (value.x - rest) + (sum.y + value.y));
}

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 64u * params.first + id.x;
  if (i >= 64u * params.n) { return; }
  let slice = id.y % SLICES;
  let vector = id.y / SLICES;
  let begin = 16u * params.n * vector;
  // Σ_j C_ij x_j, four columns side by side
  var high = vec4f();
  var low = vec4f();
  let begin_p = params.first + (slice + SLICES - params.first % SLICES) % SLICES;
  for (var p = begin_p; p < min(params.end, i / 64u + 1u); p += SLICES) {
    let at = (panel_row(p) - panel_row(params.first) + i - 64u * p) * 16u;
    for (var k = 0u; k < 16u; k++) {
      let a = c[at + k];
      let b = x[begin + 16u * p + k];
      // a b = product + error exactly: 12 and 12 bits each, whose products fit 24
      let product = keep(a * b);
      let a_top = bitcast<vec4f>(bitcast<vec4u>(a) & vec4u(0xfffff000u));
      let b_top = bitcast<vec4f>(bitcast<vec4u>(b) & vec4u(0xfffff000u));
      let a_rest = a - a_top;
      let b_rest = b - b_top;
      let error = ((a_top * b_top - product) + a_top * b_rest + a_rest * b_top) + a_rest * b_rest;
      // high + product = sum + slip exactly
      let sum = keep(high + product);
      let rest = keep(sum - high);
      let slip = (high - keep(sum - rest)) + (product - rest);
      high = sum;
      low += slip + (error + a * x_low[begin + 16u * p + k]);
    }
  }
  let left = add(vec2f(high.x, low.x), vec2f(high.y, low.y));
  let right = add(vec2f(high.z, low.z), vec2f(high.w, low.w));
  let to = (vector * 2u * SLICES + slice) * 64u * params.n + i;
  var before = vec2f();
  if (params.first > 0u) { before = parts[to]; }
  let total = add(left, right);
  parts[to] = select(add(before, total), total, params.first == 0u);
}
