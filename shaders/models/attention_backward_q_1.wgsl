// Gradient of attention by the queries: the definition.
//
//   dq_i = 1/√S Σ_j da_ij k_j,   da_ij = p_ij (do_i·v_j - δ_i),   p_ij = exp(q_i·k_j / √S - L_i),
//   δ_i = do_i·o_i
//
// Shapes   qkv, cache, spans, logsumexp L as in attention_1; out, dout [M, H S]; dqkv [M, row], of
//          which this kernel writes the columns of q; delta δ [M, H], for attention_backward_kv.
// Work     one thread a query and head.
// Cost     6 S flops for each query, head and key seen.
// Numerics the probabilities are computed again from L: storing them would take M H keys numbers.
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
  cache_stride: u32,
  cache_k: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> cache: array<f32>;
@group(0) @binding(3) var<storage, read> spans: array<vec4u>;
@group(0) @binding(4) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(5) var<storage, read> out: array<f32>;
@group(0) @binding(6) var<storage, read> dout: array<f32>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.m * params.heads) { return; }
  let s = params.s;
  let query = i / params.heads;
  let h = i % params.heads;
  let q = query * params.row + params.q + h * params.head;
  let head = h / params.group * params.head;
  let to_v = params.v - params.k;
  let o = i * s;
  let span = spans[query];

  // δ = do·o
  var dot_out = 0.0;
  for (var c = 0u; c < s; c++) { dot_out += dout[o + c] * out[o + c]; }
  delta[i] = dot_out;

  // dq = 1/√S Σ_j da_j k_j
  for (var c = 0u; c < s; c++) { dqkv[q + c] = 0.0; }
  for (var j = 0u; j < span.y + span.w; j++) {
    let cached = j < span.y;
    var k = (span.z + j - span.y) * params.row + params.k + head;
    if (cached) { k = (span.x + j) * params.cache_stride + params.cache_k + head; }
    var a = 0.0;
    var dp = 0.0;
    for (var c = 0u; c < s; c++) {
      a += qkv[q + c] * key_value(k + c, cached);
      dp += dout[o + c] * key_value(k + to_v + c, cached);
    }
    let da = exp(a * params.scale - logsumexp[i]) * (dp - dot_out);
    for (var c = 0u; c < s; c++) { dqkv[q + c] += da * params.scale * key_value(k + c, cached); }
  }
}

fn key_value(i: u32, cached: bool) -> f32 {
  if (cached) { return cache[i]; }
  return qkv[i];
}
