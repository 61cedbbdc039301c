// Gradient of the gated unit of Llama's MLP by gate and up.
//
//   dup = dy ⊙ g σ(g),   dgate = dy ⊙ up ⊙ σ(g) (1 + g (1 - σ(g))),   σ(g) = 1 / (1 + exp(-g))
//
// Shapes   gate_up, d_gate_up [T, 2F] = gate | up; dy [T, F], F a multiple of 4.
// Work     one thread for four elements of dy; grids beyond 65,535 groups are folded to two
//          dimensions.
// Cost     20 T F bytes, about 12 T F flops.
// Numerics 1 - σ = exp(-g) σ, without the cancellation; |g| <= 80 inside it as in silu_gate.wgsl.
// Source   derivative of the formula in silu_gate.wgsl.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { tokens: u32, f: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> d_gate_up: array<vec4f>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let f4 = params.f / 4u;
  if (i >= params.tokens * f4) { return; }
  let at = i + i / f4 * f4;
  let gate = clamp(gate_up[at], vec4f(-80.0), vec4f(80.0));
  let e = exp(-gate);
  let sigma = 1.0 / (1.0 + e);
  d_gate_up[at] = dy[i] * gate_up[at + f4] * (sigma * (1.0 + gate * (e * sigma)));
  d_gate_up[at + f4] = dy[i] * (max(gate_up[at], gate) * sigma);
}
