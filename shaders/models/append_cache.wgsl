// Keys and values of new tokens, put where later tokens look for them.
//
//   cache[place_t] = qkv[t] from column `first` on
//
// Shapes  qkv [T, row]; places u32 [T], all different; cache [P, row - first].
// Work    one thread a number.
// Cost    8 T (row - first) bytes.
// Test    test/generate.test.ts

override WG: u32 = 64u;

struct Params { tokens: u32, row: u32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let width = params.row - params.first;
  if (i >= params.tokens * width) { return; }
  let t = i / width;
  let column = i % width;
  cache[places[t] * width + column] = qkv[t * params.row + params.first + column];
}
