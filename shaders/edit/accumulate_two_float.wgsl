// Moves a bounded sum into a running sum of twice the precision, and empties it.
//
//   high + low ← high + low + tile,   tile ← 0
//
// Shapes   tile, high, low [4 N].
// Work     one thread four elements.
// Cost     24 bytes and 10 flops an element.
// Numerics TwoSum keeps the rounding error of each sum in `low` (about 48 bits together), so 10^8
//          tokens lose nothing. Compilers simplify (a + b) − a to b, which would make the error
//          zero: `keep` passes values through the bits of `zero`, which only the caller knows to be
//          0.
// Source   Knuth, TAOCP 2, 4.2.2, theorem B; Dekker 1971.
// Test     test/two-float.test.ts

override WG: u32 = 64u;

struct Params { n: u32, zero: u32 } // n counts vec4s

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> tile: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> high: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> low: array<vec4f>;

fn keep(x: vec4f) -> vec4f { return bitcast<vec4f>(bitcast<vec4u>(x) ^ vec4u(params.zero)); }

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.n) { return; }
  let a = high[i];
  let b = tile[i];
  // a + b = sum + error exactly
  let sum = keep(a + b);
  let rest = keep(sum - a);
  let error = low[i] + ((a - keep(sum - rest)) + (b - rest));
  // high + low = sum + error, with |low| at most half a unit of high
  let total = keep(sum + error);
  high[i] = total;
  low[i] = error - keep(total - sum);
  tile[i] = vec4f();
}
