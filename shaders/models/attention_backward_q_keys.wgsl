// Gradient of attention by the queries for GPUs: a workgroup for each query and head.
//
//   dq_i = 1/√S Σ_j da_ij k_j,   da_ij = p_ij (do_i·v_j - δ_i),   p_ij = exp(q_i·k_j / √S - L_i),
//   δ_i = do_i·o_i
//
// What changed  Threads run along the keys (a thread makes da of one key), then along the columns
//          of k, several keys at once, where the definition has a thread do all of it and a GPU
//          many threads too few. No subgroups, so their size does not matter.
// Shapes   as in attention_backward_q_1, S a multiple of 4 up to 4 WG.
// Work     workgroup x: query, y: head; keys in steps of WG.
// Cost     6 S flops for each query, head and key seen; 20 WG bytes of workgroup memory.
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
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec4u>;
@group(0) @binding(4) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(5) var<storage, read> out: array<vec4f>;
@group(0) @binding(6) var<storage, read> dout: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;

var<workgroup> da: array<f32, WG>; // of the keys of this step
var<workgroup> partial: array<vec4f, WG>;

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
  let q = (group.x * params.row + params.q + group.y * params.head) / 4u;
  let row = group.x * params.heads + group.y;
  let o = row * s4;
  let span = spans[group.x];
  let seen = span.y + span.w;
  let head = group.y / params.group * params.head; // first key of the row, and of its prefix
  let own = (span.z * params.row + params.k + head) / 4u;
  let earlier = (span.x * params.cache_stride + params.cache_k + head) / 4u;
  let to_v = (params.v - params.k) / 4u;
  let slices = WG / s4; // keys that are added side by side
  let column = thread % s4;

  // δ = do·o
  var dot_out = 0.0;
  for (var c = 0u; c < s4; c++) { dot_out += dot(dout[o + c], out[o + c]); }

  var dq = vec4f();
  for (var base = 0u; base < seen; base += WG) {
    // da = p (do·v - δ) / √S, one key a thread
    let j = base + thread;
    var slope = 0.0;
    if (j < seen) {
      let k = key_at(j, span.y, own, earlier);
      var a = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < s4; c++) {
        a += dot(qkv[q + c], key_value(k + c, j < span.y));
        dp += dot(dout[o + c], key_value(k + to_v + c, j < span.y));
      }
      slope = exp(a * params.scale - logsumexp[row]) * (dp - dot_out) * params.scale;
    }
    workgroupBarrier(); // the step before has been read
    da[thread] = slope;
    workgroupBarrier();

    // dq += da k, a column and every so many keys a thread
    for (var l = thread / s4; l < min(WG, seen - base) && thread < slices * s4; l += slices) {
      let i = base + l;
      let k = key_at(i, span.y, own, earlier);
      dq += da[l] * key_value(k + column, i < span.y);
    }
  }

  // Σ over the slices
  partial[thread] = dq;
  workgroupBarrier();
  if (thread < s4) {
    for (var slice = 1u; slice < slices; slice++) { dq += partial[slice * s4 + thread]; }
    dqkv[q + thread] = dq;
  }
  if (thread == 0u) { delta[row] = dot_out; }
}
