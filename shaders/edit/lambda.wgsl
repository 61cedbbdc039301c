// Λ, the vector of the rank-one edit, and the numbers that say whether to trust it: the rung that
// the engine takes.
//
//   Λ = (v* − v) / (k · u)
//   stats = divisor k·u, cosine k·u / (|k| |u|), |Λ|
//
// What changed  lambda_1 says what is computed. Here k · u is made by a whole workgroup and keeps
//          what rounding takes from it, and the norms come along.
// Shapes   v_star, v, lambda [D]; key, u [F]; stats [3].
// Work     one workgroup; strides, then a tree: a fixed order.
// Cost     8 F + 12 D bytes.
// Numerics k·u may be tiny beside |k| |u| (the disabling edits of ROME), so its products and sums
//          carry their rounding errors along (Dot2): as good as float64 rounded at the end.
//          Compilers simplify (a + b) − a, so `keep` passes sums through the bits of `zero`, which
//          only the caller knows to be 0.
// Source   Meng et al. 2022, eq. 2; Ogita, Rump, Oishi 2005, algorithm 5.3 (Dot2).
// Test     test/edit-kernels.test.ts

override WG: u32 = 256u; // a power of two

struct Params { f: u32, d: u32, zero: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v_star: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> key: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read_write> lambda: array<f32>;
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;

var<workgroup> dots: array<vec2f, WG>; // k·u as high and low part
var<workgroup> squares: array<vec3f, WG>; // |k|², |u|², |v* − v|²

fn keep(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.zero); }

// a + b = x + y exactly.
fn two_sum(a: f32, b: f32) -> vec2f {
  let sum = keep(a + b);
  let rest = keep(sum - a);
  return vec2f(sum, (a - keep(sum - rest)) + (b - rest));
}

// a b = x + y exactly: 12 and 12 bits each, whose products fit 24.
fn two_product(a: f32, b: f32) -> vec2f {
  let product = keep(a * b);
  let ah = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let bh = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let al = a - ah;
  let bl = b - bh;
  return vec2f(product, ((ah * bh - product) + ah * bl + al * bh) + al * bl);
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var dot = vec2f();
  var square = vec3f();
  // Σ_f k_f u_f
  for (var i = lane; i < params.f; i += WG) {
    let product = two_product(key[i], u[i]);
    let sum = two_sum(dot.x, product.x);
    dot = vec2f(sum.x, dot.y + (sum.y + product.y));
    square += vec3f(key[i] * key[i], u[i] * u[i], 0.0);
  }
  for (var i = lane; i < params.d; i += WG) {
    let residual = v_star[i] - v[i];
    square.z += residual * residual;
  }
  dots[lane] = dot;
  squares[lane] = square;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      let sum = two_sum(dots[lane].x, dots[lane + half].x);
      dots[lane] = vec2f(sum.x, sum.y + (dots[lane].y + dots[lane + half].y));
      squares[lane] += squares[lane + half];
    }
  }
  workgroupBarrier();

  let divisor = dots[0].x + dots[0].y;
  let norms = sqrt(squares[0]);
  for (var i = lane; i < params.d; i += WG) { lambda[i] = (v_star[i] - v[i]) / divisor; }
  if (lane != 0u) { return; }
  stats[0] = divisor;
  stats[1] = divisor / (norms.x * norms.y);
  stats[2] = norms.z / abs(divisor);
}
