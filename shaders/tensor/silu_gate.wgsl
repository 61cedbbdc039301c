// The gated unit of Llama's MLP ("SwiGLU").
//
//   y = silu(gate) ⊙ up,   silu(g) = g σ(g) = g / (1 + exp(-g))
//
// Shapes   gate_up [T, 2F] = gate | up, which one product makes; y [T, F], F a multiple of 4.
// Work     one thread for four elements of y; grids beyond 65,535 groups are folded to two
//          dimensions.
// Cost     12 T F bytes, about 6 T F flops.
// Numerics exp is taken at |g| <= 80, so that it stays finite: beyond it silu is g or 0 in float32.
// Source   Shazeer 2020, eq. 5.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { tokens: u32, f: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

const LOW = vec4f(-80.0);

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  let f4 = params.f / 4u;
  if (i >= params.tokens * f4) { return; }
  let at = i + i / f4 * f4;
  let gate = gate_up[at];
  let silu = select(gate, vec4f(), gate < LOW) / (1.0 + exp(-clamp(gate, LOW, -LOW)));
  y[i] = silu * gate_up[at + f4];
}
