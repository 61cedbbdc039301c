// Λ, the vector of the rank-one edit W += u Λᵀ: the definition, in plain f32.
//
//   Λ = (v* − v) / (k · u)
//
// Shapes   v_star, v, lambda [D]; key, u [F].
// Work     one thread an element of Λ, each with the whole k · u.
// Cost     2 F D flops: for reading and for comparison.
// Numerics the F products and sums of k · u each round by ε = 2⁻²³, so it strays by about
//          4 ε √F max |k_f u_f|, and Λ by that over |k · u|. Where k and u are nearly orthogonal
//          (the disabling edits of ROME) nothing of Λ is left; lambda.wgsl carries the roundings.
// Source   Meng et al. 2022, eq. 2.
// Test     test/edit-kernels.test.ts

override WG: u32 = 64u;

struct Params { f: u32, d: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v_star: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> key: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read_write> lambda: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= params.d) { return; }
  // k · u = Σ_f k_f u_f
  var divisor = 0.0;
  for (var f = 0u; f < params.f; f++) { divisor += key[f] * u[f]; }
  lambda[i] = (v_star[i] - v[i]) / divisor;
}
