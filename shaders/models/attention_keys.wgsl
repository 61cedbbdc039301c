// Causal multi-head attention for GPUs: a workgroup for each query and head.
//
//   o_i = Σ_j p_ij v_j,   p_ij = exp(a_ij - L_i),   a_ij = q_i·k_j / √S,   L_i = ln Σ_j exp(a_ij)
//
// What changed  Threads first run along the keys (a thread makes the whole score of one key), then
//          along the columns of v, several keys at once. So a single query after a thousand keys,
//          as in generation, and the short suffixes of an edit keep a whole group busy. It needs no
//          subgroups, so their size does not matter.
// Shapes   as in attention_1, S a multiple of 4 up to 4 WG.
// Work     workgroup x: query, y: head; keys in steps of WG, a power of two.
// Cost     4 S flops for each query, head and key seen; 24 WG bytes of workgroup memory.
// Numerics a running maximum, raised once for WG keys.
// Source   Dao et al. 2022, algorithm 1, for one query.
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
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> logsumexp: array<f32>;

var<workgroup> p: array<f32, WG>; // of the keys of this step
var<workgroup> found: array<f32, WG>;
var<workgroup> partial: array<vec4f, WG>;

// The largest of the values of all threads
fn largest(value: f32, thread: u32) -> f32 {
  found[thread] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { found[thread] = max(found[thread], found[thread + half]); }
  }
  workgroupBarrier();
  return found[0];
}

// Where key j begins: in the cache, or among the batch's own rows.
fn key_at(j: u32, cached: u32, own: u32, earlier: u32) -> u32 {
  if (j < cached) { return earlier + j * (params.cache_stride / 4u); }
  return own + (j - cached) * (params.row / 4u);
}

fn key_value(i: u32, cached: bool) -> vec4f {
  if (cached) { return cache[i]; }
  return qkv[i];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let s4 = params.s / 4u;
  let o_at = (group.x * params.heads + group.y) * s4;
  let span = spans[group.x];
  let seen = span.y + span.w;
  let head = group.y / params.group * params.head; // first key of the row, and of its prefix
  let own = (span.z * params.row + params.k + head) / 4u;
  let earlier = (span.x * params.cache_stride + params.cache_k + head) / 4u;
  let to_v = (params.v - params.k) / 4u;
  let slices = WG / s4; // keys whose values are added side by side
  let column = thread % s4;

  var o = vec4f();
  var top = -1.0e30;
  var sum = 0.0; // of this thread's keys
  for (var base = 0u; base < seen; base += WG) {
    // a = q·k / √S, one key a thread
    var a = -1.0e30;
    let j = base + thread;
    if (j < seen) {
      let q = (group.x * params.row + params.q + group.y * params.head) / 4u;
      let k = key_at(j, span.y, own, earlier);
      a = 0.0;
      for (var c = 0u; c < s4; c++) { a += dot(qkv[q + c], key_value(k + c, j < span.y)); }
      a *= params.scale;
    }

    // o and the sum shrink to the new maximum
    let now = max(top, largest(a, thread));
    let shrink = exp(top - now);
    top = now;
    p[thread] = select(0.0, exp(a - now), j < seen);
    sum = sum * shrink + p[thread];
    workgroupBarrier();

    // o += p v, a column and every so many keys a thread
    o *= shrink;
    for (var l = thread / s4; l < min(WG, seen - base) && thread < slices * s4; l += slices) {
      let i = base + l;
      let k = key_at(i, span.y, own, earlier);
      o += p[l] * key_value(k + to_v + column, i < span.y);
    }
  }

  // Σ over the slices, and over all keys
  partial[thread] = o;
  workgroupBarrier(); // and everybody has read the last maximum
  found[thread] = sum;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < WG; i++) { total += found[i]; }
  if (thread < s4) {
    for (var slice = 1u; slice < slices; slice++) { o += partial[slice * s4 + thread]; }
    out[o_at + thread] = o / total;
  }
  if (thread == 0u) { logsumexp[group.x * params.heads + group.y] = top + log(total); }
}
