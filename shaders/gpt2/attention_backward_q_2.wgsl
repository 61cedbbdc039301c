// Gradient of attention by the queries: a subgroup for each query and head.
//
//   dq_i = 1/√S Σ_j da_ij k_j,   da_ij = p_ij (do_i·v_j - δ_i),   p_ij = exp(q_i·k_j / √S - L_i),
//   δ_i = do_i·o_i
//
// What changed  Lanes run along the keys (a lane makes da of one key), then along the columns of
//          k, so that dq stays in registers and a load brings four numbers.
// Shapes   as in attention_backward_q_1, S a multiple of 4.
// Work     workgroup x: query, y: head, z: the columns z · 8 LANES and on. One subgroup each.
// Cost     6 S flops for each query, head and key seen; keys in steps of LANES.
// Test     test/attention.test.ts

enable subgroups;

override LANES: u32 = 8u; // the adapter's subgroup size

struct Params { m: u32, heads: u32, s: u32, cache_stride: u32, cache_k: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec4u>;
@group(0) @binding(4) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(5) var<storage, read> out: array<vec4f>;
@group(0) @binding(6) var<storage, read> dout: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;

fn key_value(i: u32, cached: bool) -> vec4f {
  if (cached) { return cache[i]; }
  return qkv[i];
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let s4 = params.s / 4u;
  let d4 = params.heads * s4;
  let head = group.y * s4;
  let query = group.x;
  let row = query * params.heads + group.y;
  let q = query * 3u * d4 + head;
  let o = query * d4 + head;
  let span = spans[query];
  let left = group.z * 2u * LANES + lane; // this lane's two columns of k and dq
  let right = left + LANES;
  let columns = min(vec2u(left, right), vec2u(s4 - 1u));

  // δ = do·o
  var products = 0.0;
  for (var c = lane; c < s4; c += LANES) { products += dot(dout[o + c], out[o + c]); }
  let dot_out = subgroupAdd(products);

  // dq = 1/√S Σ_j da_j k_j
  var dq = mat2x4f();
  for (var part = 0u; part < 2u; part++) {
    let cached = part == 0u;
    let n = select(span.w, span.y, cached);
    let stride = select(3u * d4, params.cache_stride / 4u, cached);
    let keys = select(span.z * stride + d4, span.x * stride + params.cache_k / 4u, cached) + head;
    for (var base = 0u; base < n; base += LANES) {
      let k = keys + min(base + lane, n - 1u) * stride;
      var a = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < s4; c++) {
        a += dot(qkv[q + c], key_value(k + c, cached));
        dp += dot(dout[o + c], key_value(k + d4 + c, cached));
      }
      let da = exp(a * params.scale - logsumexp[row]) * (dp - dot_out) * params.scale;
      for (var l = 0u; l < min(LANES, n - base); l++) {
        let kl = keys + (base + l) * stride;
        let k4 = mat2x4f(key_value(kl + columns.x, cached), key_value(kl + columns.y, cached));
        dq += subgroupShuffle(da, l) * k4;
      }
    }
  }
  if (left < s4) { dqkv[q + left] = dq[0]; }
  if (right < s4) { dqkv[q + right] = dq[1]; }
  if (lane == 0u && group.z == 0u) { delta[row] = dot_out; }
}
