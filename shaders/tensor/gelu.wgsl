// GELU in its tanh form ("gelu_new"), the non-linearity of GPT-2.
//
//   y = x/2 · (1 + tanh z) = x / (1 + exp(-2z)),   z = √(2/π) (x + 0.044715 x³)
//
// Shapes   x, y [N], N a multiple of 4.
// Work     one thread for four elements (twice as fast on software adapters); grids beyond 65,535
//          groups are folded to two dimensions.
// Cost     8 N bytes, about 10 N flops.
// Numerics the logistic form keeps its relative accuracy where 1 + tanh z cancels. z is taken at
//          |x| <= 10, so that exp and x³ stay finite: beyond it y is x or 0 in float32.
// Source   Hendrycks and Gimpel 2016, section 2; openai/gpt-2 `gelu` in src/model.py.
// Test     test/activations.test.ts

override WG: u32 = 256u;

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

const TWICE_SQRT_2_OVER_PI = 1.5957691216057308;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (4u * i >= params.n) { return; }
  let c = clamp(x[i], vec4f(-10.0), vec4f(10.0));
  let twice_z = TWICE_SQRT_2_OVER_PI * (c + 0.044715 * c * c * c);
  y[i] = select(x[i], vec4f(), x[i] < vec4f(-10.0)) / (1.0 + exp(-twice_z)); // a NaN stays one
}
