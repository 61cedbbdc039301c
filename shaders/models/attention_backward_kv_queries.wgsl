// Gradient of attention by the batch's own keys and values for GPUs: a workgroup for each key and
// head of keys.
//
//   dv_j = Σ_i p_ij do_i,   dk_j = 1/√S Σ_i da_ij q_i        over the queries i that see key j,
//                                                           of every head that reads k_j and v_j
//   p_ij = exp(q_i·k_j / √S - L_i),   da_ij = p_ij (do_i·v_j - δ_i)
//
// What changed  Threads run along the queries and their heads (a thread makes p and da of one),
//          then along the columns of q and do, several queries at once. No subgroups, so their
//          size does not matter.
// Shapes   as in attention_backward_kv_1, S a multiple of 4 up to 4 WG.
// Work     workgroup x: key, y: head of keys; queries in steps of WG.
// Cost     8 S flops for each key, head and query that sees it; 40 WG bytes of workgroup memory.
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
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> followers: array<vec2u>;
@group(0) @binding(3) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> dout: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

var<workgroup> weights: array<vec2f, WG>; // da / √S and p of the queries of this step
var<workgroup> partial: array<mat2x4f, WG>;

// The n-th query that reads a head of keys, as i H + h: the group's heads of one token first.
fn query_at(first: u32, n: u32, kv_head: u32) -> u32 {
  return (first + n / params.group) * params.heads + kv_head * params.group + n % params.group;
}

fn q_at(row: u32) -> u32 {
  return (row / params.heads * params.row + params.q + row % params.heads * params.head) / 4u;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let s4 = params.s / 4u;
  let token = group.x * params.row + group.y * params.head;
  let k = (token + params.k) / 4u;
  let v = (token + params.v) / 4u;
  let seen = followers[group.x];
  let all = seen.y * params.group; // queries, head by head
  let slices = WG / s4; // queries that are added side by side
  let column = thread % s4;

  var sums = mat2x4f(); // dk, dv
  for (var base = 0u; base < all; base += WG) {
    // p and da = p (do·v - δ), one query a thread
    var pair = vec2f();
    if (base + thread < all) {
      let row = query_at(seen.x, base + thread, group.y);
      let q = q_at(row);
      let o = row * s4;
      var a = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < s4; c++) {
        a += dot(qkv[q + c], qkv[k + c]);
        dp += dot(dout[o + c], qkv[v + c]);
      }
      let p = exp(a * params.scale - logsumexp[row]);
      pair = p * vec2f((dp - delta[row]) * params.scale, 1.0);
    }
    workgroupBarrier(); // the step before has been read
    weights[thread] = pair;
    workgroupBarrier();

    // dk += 1/√S da q,   dv += p do, a column and every so many queries a thread
    for (var l = thread / s4; l < min(WG, all - base) && thread < slices * s4; l += slices) {
      let row = query_at(seen.x, base + l, group.y);
      let both = weights[l];
      sums += mat2x4f(both.x * qkv[q_at(row) + column], both.y * dout[row * s4 + column]);
    }
  }

  // Σ over the slices
  partial[thread] = sums;
  workgroupBarrier();
  if (thread < s4) {
    for (var slice = 1u; slice < slices; slice++) { sums += partial[slice * s4 + thread]; }
    dqkv[k + thread] = sums[0];
    dqkv[v + thread] = sums[1];
  }
}
