// The loss of one step of the search for v*, as a row of the trace for every request.
//
//   nll    = 1/c Σ_j ℓ_j,   ℓ_j = 1/t Σ_i nll_(j t + i)     c contexts, t target tokens
//   decay  = weight_decay · |δ| / |v0|²
//   loss   = nll + kl + decay
//   probability = 1/c Σ_j exp(−ℓ_j)
//   probable = rows so far in which every sampled context has all target tokens as arg-max
//   row    = loss, nll, kl, decay, probability, |δ|, done, probable
//
// done = 1 once loss < enough, or probable reached stop_after, in this row or an earlier one: Adam
// then leaves δ alone. stop_after = 0 counts nothing. Context 0 is the bare prompt; it counts only
// where it is the only one.
//
// Shapes   requests u32 [a, 4]: row of δ, first nll, c, t; nll and targets u32 [Σ c t], context
//          by context; kl [a], kl_factor included; delta, v0 [n, D]; likeliest u32, the arg-max of
//          each target's row; trace [steps, n, 8].
// Work     one workgroup a request; sums by threads in strides, then a tree: a fixed order.
// Cost     4 (3 Σ c t + 2 a D) bytes.
// Source   kmeng01/rome `compute_v`: |δ| is not squared, |v0| is. Gupta et al. 2025, sec. 4: stop
//          at the most probable; counted by contexts whose tokens are all right, not by tokens.
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params {
  step: u32, n: u32, d: u32, weight_decay: f32, enough: f32, stop_after: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> requests: array<vec4u>;
@group(0) @binding(2) var<storage, read> nll: array<f32>;
@group(0) @binding(3) var<storage, read> kl: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> v0: array<f32>;
@group(0) @binding(6) var<storage, read> targets: array<u32>;
@group(0) @binding(7) var<storage, read> likeliest: array<u32>;
@group(0) @binding(8) var<storage, read_write> trace: array<f32>;

var<workgroup> parts: array<vec4f, WG>;
var<workgroup> misses: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
) {
  let request = requests[group.x];
  let contexts = request.z;
  let tokens = request.w;
  var part = vec4f();
  var miss = 0u;
  // Σ_j ℓ_j, Σ_j exp(−ℓ_j), and how many target tokens of sampled contexts are not the arg-max
  for (var j = lane; j < contexts; j += WG) {
    var mean = 0.0;
    for (var i = 0u; i < tokens; i++) {
      let at = request.y + j * tokens + i;
      mean += nll[at];
      if ((j > 0u || contexts == 1u) && likeliest[at] != targets[at]) { miss++; }
    }
    mean /= f32(tokens);
    part += vec4f(mean, exp(-mean), 0.0, 0.0);
  }
  // |δ|² and |v0|²
  for (var c = lane; c < params.d; c += WG) {
    let i = request.x * params.d + c;
    part += vec4f(0.0, 0.0, delta[i] * delta[i], v0[i] * v0[i]);
  }
  parts[lane] = part;
  misses[lane] = miss;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      parts[lane] += parts[lane + half];
      misses[lane] += misses[lane + half];
    }
  }
  if (lane != 0u) { return; }

  let n = f32(contexts);
  let likelihood = parts[0].x / n;
  let norm = sqrt(parts[0].z);
  var decay = 0.0;
  if (norm > 0.0) { decay = params.weight_decay * norm / parts[0].w; }
  let drift = kl[group.x];
  let loss = likelihood + drift + decay;
  let row = (params.step * params.n + request.x) * 8u;
  let earlier = row - params.n * 8u; // read from step 1 on
  var done = loss < params.enough;
  var probable = 0.0;
  if (params.stop_after > 0u && misses[0] == 0u) { probable = 1.0; }
  if (params.step > 0u) {
    done = done || trace[earlier + 6u] != 0.0;
    probable += trace[earlier + 7u];
  }
  if (params.stop_after > 0u) { done = done || probable >= f32(params.stop_after); }
  trace[row] = loss;
  trace[row + 1u] = likelihood;
  trace[row + 2u] = drift;
  trace[row + 3u] = decay;
  trace[row + 4u] = parts[0].y / n;
  trace[row + 5u] = norm;
  trace[row + 6u] = select(0.0, 1.0, done);
  trace[row + 7u] = probable;
}
