// Causal attention over packed rows, several heads of queries on one of keys: the definition.
//
//   o_i = Σ_j p_ij v_j,   p_ij = exp(a_ij - L_i),   a_ij = q_i·k_j / √S,   L_i = ln Σ_j exp(a_ij)
//
// Shapes   qkv [M, row]: head h of q begins at column q + h · head; the key and the value that it
//          reads at k + g · head and v + g · head, g = h / group; S columns each; cache [P, .]:
//          keys of earlier tokens from column cache_k on, values v - k columns further, laid out
//          alike; out [M, H S]; logsumexp L [M, H]. spans u32 [M, 4] says which keys query i sees:
//          prefix_start, prefix_count (rows of cache), self_start, self_count (rows of qkv, i
//          itself last).
// Work     one thread a query and head.
// Cost     4 M H S flops for each key seen.
// Numerics one pass with a running maximum m: what was summed before a new maximum shrinks by
//          exp(m_old - m_new).
// Source   Vaswani et al. 2017, eq. 1; shared keys: Ainslie et al. 2023; running maximum: Milakov
//          and Gimelshein 2018, algorithm 3.
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
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> logsumexp: array<f32>;

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
  for (var c = 0u; c < s; c++) { out[o + c] = 0.0; }
  var top = -1.0e30;
  var sum = 0.0;
  for (var j = 0u; j < span.y + span.w; j++) {
    let cached = j < span.y;
    var k = (span.z + j - span.y) * params.row + params.k + head;
    if (cached) { k = (span.x + j) * params.cache_stride + params.cache_k + head; }

    // a = q·k / √S
    var a = 0.0;
    for (var c = 0u; c < s; c++) { a += qkv[q + c] * key_value(k + c, cached); }
    a *= params.scale;

    // o = (o exp(m_old - m) + exp(a - m) v),   m = max(m_old, a)
    let shrink = exp(top - max(top, a));
    top = max(top, a);
    let p = exp(a - top);
    sum = sum * shrink + p;
    for (var c = 0u; c < s; c++) {
      out[o + c] = out[o + c] * shrink + p * key_value(k + to_v + c, cached);
    }
  }
  for (var c = 0u; c < s; c++) { out[o + c] /= sum; }
  logsumexp[i] = top + log(sum);
}

fn key_value(i: u32, cached: bool) -> f32 {
  if (cached) { return cache[i]; }
  return qkv[i];
}
