// The loss of one step of the search for v*, as a row of the trace.
//
//   nll    = 1/n Σ_j ℓ_j,   ℓ_j = 1/t Σ_i nll_(j t + i)     n contexts, t target tokens
//   decay  = weight_decay · |δ| / |v0|²
//   loss   = nll + kl + decay
//   probability = 1/n Σ_j exp(−ℓ_j)
//   row    = loss, nll, kl, decay, probability, |δ|, done, 0
//
// done = 1 once loss < enough, in this row or an earlier one: Adam then leaves δ alone.
//
// Shapes   nll [n t], context by context; kl [1], kl_factor included; delta, v0 [D]; trace [steps,
//          8].
// Work     one workgroup; sums by threads in strides, then a tree: a fixed order.
// Cost     4 (n t + 2 D) bytes.
// Source   kmeng01/rome `compute_v`: |δ| is not squared, |v0| is.
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params { step: u32, contexts: u32, tokens: u32, d: u32, weight_decay: f32, enough: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> nll: array<f32>;
@group(0) @binding(2) var<storage, read> kl: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read> v0: array<f32>;
@group(0) @binding(5) var<storage, read_write> trace: array<f32>;

var<workgroup> parts: array<vec4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var part = vec4f();
  // Σ_j ℓ_j and Σ_j exp(−ℓ_j)
  for (var j = lane; j < params.contexts; j += WG) {
    var mean = 0.0;
    for (var i = 0u; i < params.tokens; i++) { mean += nll[j * params.tokens + i]; }
    mean /= f32(params.tokens);
    part += vec4f(mean, exp(-mean), 0.0, 0.0);
  }
  // |δ|² and |v0|²
  for (var i = lane; i < params.d; i += WG) {
    part += vec4f(0.0, 0.0, delta[i] * delta[i], v0[i] * v0[i]);
  }
  parts[lane] = part;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  if (lane != 0u) { return; }

  let n = f32(params.contexts);
  let likelihood = parts[0].x / n;
  let norm = sqrt(parts[0].z);
  var decay = 0.0;
  if (norm > 0.0) { decay = params.weight_decay * norm / parts[0].w; }
  let loss = likelihood + kl[0] + decay;
  let row = params.step * 8u;
  var done = loss < params.enough;
  if (params.step > 0u) { done = done || trace[row - 2u] != 0.0; }
  trace[row] = loss;
  trace[row + 1u] = likelihood;
  trace[row + 2u] = kl[0];
  trace[row + 3u] = decay;
  trace[row + 4u] = parts[0].y / n;
  trace[row + 5u] = norm;
  trace[row + 6u] = select(0.0, 1.0, done);
  trace[row + 7u] = 0.0;
}
