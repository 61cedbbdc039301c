// Gradient of attention by the batch's own keys and values for GPUs: a workgroup for each key and
// head.
//
//   dv_j = Σ_i p_ij do_i,   dk_j = 1/√S Σ_i da_ij q_i        over the queries i that see key j
//   p_ij = exp(q_i·k_j / √S - L_i),   da_ij = p_ij (do_i·v_j - δ_i)
//
// What changed  Threads run along the queries (a thread makes p and da of one), then along the
//          columns of q and do, several queries at once. No subgroups, so their size does not
//          matter.
// Shapes   as in attention_backward_kv_1, S a multiple of 4 up to 4 WG.
// Work     workgroup x: key, y: head; queries in steps of WG.
// Cost     8 S flops for each key, head and query that sees it; 40 WG bytes of workgroup memory.
// Source   Dao et al. 2022, appendix B.2.
// Test     test/attention.test.ts

override WG: u32 = 64u;

struct Params { m: u32, heads: u32, s: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> followers: array<vec2u>;
@group(0) @binding(3) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read> dout: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

var<workgroup> weights: array<vec2f, WG>; // da / √S and p of the queries of this step
var<workgroup> partial: array<mat2x4f, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let s4 = params.s / 4u;
  let d4 = params.heads * s4;
  let head = group.y * s4;
  let k = group.x * 3u * d4 + d4 + head;
  let v = k + d4;
  let seen = followers[group.x];
  let slices = WG / s4; // queries that are added side by side
  let column = head + thread % s4;

  var sums = mat2x4f(); // dk, dv
  for (var base = 0u; base < seen.y; base += WG) {
    // p and da = p (do·v - δ), one query a thread
    var pair = vec2f();
    if (base + thread < seen.y) {
      let i = seen.x + base + thread;
      let row = i * params.heads + group.y;
      var a = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < s4; c++) {
        a += dot(qkv[i * 3u * d4 + head + c], qkv[k + c]);
        dp += dot(dout[i * d4 + head + c], qkv[v + c]);
      }
      let p = exp(a * params.scale - logsumexp[row]);
      pair = p * vec2f((dp - delta[row]) * params.scale, 1.0);
    }
    workgroupBarrier(); // the step before has been read
    weights[thread] = pair;
    workgroupBarrier();

    // dk += 1/√S da q,   dv += p do, a column and every so many queries a thread
    for (var l = thread / s4; l < min(WG, seen.y - base) && thread < slices * s4; l += slices) {
      let i = seen.x + base + l;
      let both = weights[l];
      sums += mat2x4f(both.x * qkv[i * 3u * d4 + column], both.y * dout[i * d4 + column]);
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
