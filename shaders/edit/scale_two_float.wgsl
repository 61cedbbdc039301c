// A sum in two floats times a factor in two floats, rounded to f32: C = S / count.
//
//   y = (high + low) · (factor + factor_low)
//
// Shapes   high, low, y [4 N].
// Work     one thread four elements.
// Cost     12 bytes and 5 flops an element.
// Numerics within two units in the last place: the factor 1 / count alone has 24 bits too few
//          beyond 1.6e7 tokens.
// Test     test/two-float.test.ts

override WG: u32 = 64u;

struct Params { n: u32, factor: f32, factor_low: f32 } // n counts vec4s

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> high: array<vec4f>;
@group(0) @binding(2) var<storage, read> low: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  y[i] = high[i] * params.factor + (high[i] * params.factor_low + low[i] * params.factor);
}
