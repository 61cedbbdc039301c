// Gradient of attention by the keys and values of the batch's own tokens: the definition.
//
//   dv_j = Σ_i p_ij do_i,   dk_j = 1/√S Σ_i da_ij q_i        over the queries i that see key j,
//                                                           of every head that reads k_j and v_j
//   p_ij = exp(q_i·k_j / √S - L_i),   da_ij = p_ij (do_i·v_j - δ_i)
//
// Shapes   qkv [M, row] as in attention_1; logsumexp L, delta δ [M, H]; dout [M, H S]; followers
//          u32 [M, 2]: the first query that sees key j and how many do, one after another; dqkv
//          [M, row], of which this kernel writes the columns of k and v. Keys in the cache are
//          frozen, without a gradient.
// Work     one thread a key and head of keys.
// Cost     8 S flops for each key, head and query that sees it.
// Source   Dao et al. 2022, appendix B.2.
// Test     test/attention.test.ts

override WG: u32 = 64u;

struct Params {
  m: u32,
  heads: u32, // of queries
  group: u32, // of them that share a head of keys and values
  s: u32,
  row: u32, // numbers of a token in qkv
  head: u32, // from a head of q, k or v to the next
  q: u32, // columns where their first heads begin
  k: u32,
  v: u32,
  scale: f32,
}

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
  let kv_heads = params.heads / params.group;
  if (j >= params.m * kv_heads) { return; }
  let s = params.s;
  let row = j / kv_heads * params.row + j % kv_heads * params.head;
  let k = row + params.k;
  let v = row + params.v;
  let seen = followers[j / kv_heads];
  for (var c = 0u; c < s; c++) {
    dqkv[k + c] = 0.0;
    dqkv[v + c] = 0.0;
  }
  for (var n = 0u; n < seen.y * params.group; n++) {
    let i = seen.x + n / params.group;
    let h = j % kv_heads * params.group + n % params.group;
    let q = i * params.row + params.q + h * params.head;
    let o = (i * params.heads + h) * s;
    var a = 0.0;
    var dp = 0.0;
    for (var c = 0u; c < s; c++) {
      a += qkv[q + c] * qkv[k + c];
      dp += dout[o + c] * qkv[v + c];
    }
    let p = exp_of(a * params.scale - logsumexp[i * params.heads + h]);
    let da = p * (dp - delta[i * params.heads + h]);

    // dk += 1/√S da q,   dv += p do
    for (var c = 0u; c < s; c++) {
      dqkv[k + c] += da * params.scale * qkv[q + c];
      dqkv[v + c] += p * dout[o + c];
    }
  }
}
