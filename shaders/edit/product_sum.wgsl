// A symmetric matrix times N vectors in two floats, last step: the sum of the parts.
//
//   y_i + y_low_i = Σ_s part_i,s
//
// Shapes   parts [N, 2 SLICES, 64 n] pairs high, low; y [N, 2, 64 n]: high parts, then low.
// Work     one thread a row and vector.
// Cost     16 SLICES bytes a row.
// Numerics TwoSum; y is the rounded sum and y_low its rounding error. `keep` as in product_rows.
// Source   Ogita, Rump, Oishi 2005.
// Test     test/two-float.test.ts

override WG: u32 = 64u;
override SLICES: u32 = 8u;

struct Params { n: u32, zero: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn keep(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.zero); }

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let size = 64u * params.n;
  if (id.x >= size) { return; }
  var high = 0.0;
  var low = 0.0;
  // Σ_s part_i,s
  for (var s = 0u; s < 2u * SLICES; s++) {
    let part = parts[(id.y * 2u * SLICES + s) * size + id.x];
    let sum = keep(high + part.x);
    let rest = keep(sum - high);
    low += ((high - keep(sum - rest)) + (part.x - rest)) + part.y;
    high = sum;
  }
  let total = keep(high + low);
  y[2u * id.y * size + id.x] = total;
  y[(2u * id.y + 1u) * size + id.x] = low - keep(total - high);
}
