// Gradient of attention by the keys and values of the batch's own tokens: the definition.
//
//   dv_j = Σ_i p_ij do_i,   dk_j = 1/√S Σ_i da_ij q_i        over the queries i that see key j
//   p_ij = exp(q_i·k_j / √S - L_i),   da_ij = p_ij (do_i·v_j - δ_i)
//
// Shapes   qkv [M, 3D]; logsumexp L, delta δ [M, H]; dout [M, D]; followers u32 [M, 2]: the first
//          query that sees key j and how many do, one after another; dqkv [M, 3D], of which this
//          kernel writes the columns of k and v. Keys in the cache are frozen, without a gradient.
// Work     one thread a key and head.
// Cost     8 S flops for each key, head and query that sees it.
// Source   Dao et al. 2022, appendix B.2.
// Test     test/attention.test.ts

override WG: u32 = 64u;

struct Params { m: u32, heads: u32, s: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> followers: array<vec2u>;
@group(0) @binding(3) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> dout: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<f32>;

// eˣ. The built-in one may err by 3 + 2 |x| ulp, and does. Here x = n ln 2 + r; a series gives eʳ.
fn exp_of(x: f32) -> f32 {
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4; // n ln 2 in two parts
  var p = r / 5040.0 + 1.0 / 720.0;
  p = (p * r + 1.0 / 120.0) * r + 1.0 / 24.0;
  p = (p * r + 1.0 / 6.0) * r + 0.5;
  let two_to_n = bitcast<f32>((i32(n) + 127) << 23u);
  return select(exp(x), (1.0 + (r + r * r * p)) * two_to_n, abs(x) < 87.0);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let j = id.y * (groups.x * WG) + id.x;
  if (j >= params.m * params.heads) { return; }
  let s = params.s;
  let d = params.heads * s;
  let head = j % params.heads;
  let column = head * s;
  let k = (j / params.heads) * 3u * d + d + column;
  let v = k + d;
  let seen = followers[j / params.heads];
  for (var c = 0u; c < s; c++) {
    dqkv[k + c] = 0.0;
    dqkv[v + c] = 0.0;
  }
  for (var i = seen.x; i < seen.x + seen.y; i++) {
    let q = i * 3u * d + column;
    let o = i * d + column;
    var a = 0.0;
    var dp = 0.0;
    for (var c = 0u; c < s; c++) {
      a += qkv[q + c] * qkv[k + c];
      dp += dout[o + c] * qkv[v + c];
    }
    let p = exp_of(a * params.scale - logsumexp[i * params.heads + head]);
    let da = p * (dp - delta[i * params.heads + head]);

    // dk += 1/√S da q,   dv += p do
    for (var c = 0u; c < s; c++) {
      dqkv[k + c] += da * params.scale * qkv[q + c];
      dqkv[v + c] += p * dout[o + c];
    }
  }
}
