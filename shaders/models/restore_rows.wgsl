// Puts rows of a stored run back in place of those of the current one, as causal tracing does.
//
//   y[rows_i] = clean[sources_i]
//
// Shapes  clean [N, D]; y [T, D]; rows u32 [n], all different, below T; sources u32 [n], below N.
// Work    one thread a coordinate of a restored row; large grids are folded to two dimensions.
// Cost    8 n D bytes.
// Source  Meng et al. 2022, section 2.1, "corrupted-with-restoration run".
// Test    test/trace.test.ts

override WG: u32 = 64u;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> clean: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let thread = id.y * (groups.x * WG) + id.x;
  if (thread >= params.n * params.d) { return; }
  let i = thread / params.d;
  let column = thread % params.d;
  y[rows[i] * params.d + column] = clean[sources[i] * params.d + column];
}
