// Gradient of attention by the queries: a subgroup for each head and pair of queries.
//
//   dq_i = 1/√S Σ_j da_ij k_j,   da_ij = p_ij (do_i·v_j - δ_i),   p_ij = exp(q_i·k_j / √S - L_i),
//   δ_i = do_i·o_i
//
// What changed  Lanes run along the keys (a lane makes da of one key), then along the columns of
//          k. Two queries share every load of k and v; dq stays in registers.
// Shapes   as in attention_backward_q_1, S a multiple of 4.
// Work     workgroup x: query, y: head, z: the columns z · 8 LANES and on. One subgroup each; that
//          of a row's second, fourth, ... query leaves it to the one before.
// Cost     6 S flops for each query, head and key seen; keys in steps of LANES.
// Test     test/attention.test.ts

enable subgroups;

override LANES: u32 = 8u; // the adapter's subgroup size
override PREFIX: u32 = 1u; // 0: no span has one, and the cache is not read
override COLUMNS: u32 = 2u; // a lane has; 1 is enough, and a sixth faster, where S <= 4 LANES

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

fn key_value(i: u32, cached: bool) -> vec4f {
  if (PREFIX == 1u && cached) { return cache[i]; }
  return qkv[i];
}

// At a lane's second column
fn second_column(i: u32, cached: bool) -> vec4f {
  if (COLUMNS == 1u) { return vec4f(); }
  return key_value(i, cached);
}

// eˣ. The built-in one may err by 3 + 2 |x| ulp, and does. Here x = n ln 2 + r; a series gives eʳ.
fn exp_of(x: vec2f) -> vec2f {
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4; // n ln 2 in two parts
  var p = r / 5040.0 + 1.0 / 720.0;
  p = (p * r + 1.0 / 120.0) * r + 1.0 / 24.0;
  p = (p * r + 1.0 / 6.0) * r + 0.5;
  let two_to_n = bitcast<vec2f>((vec2i(n) + 127) << vec2u(23u));
  return select(exp(x), (1.0 + (r + r * r * p)) * two_to_n, abs(x) < vec2f(87.0));
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let first = group.x;
  let span = spans[first];
  if (span.w % 2u == 0u) { return; }
  let next = min(first + 1u, params.m - 1u);
  let second = select(first, next, spans[next].z == span.z); // the first again at a row's end
  let s4 = params.s / 4u;
  let row4 = params.row / 4u;
  let to_v = (params.v - params.k) / 4u;
  let head = group.y / params.group * (params.head / 4u); // of keys
  let queries = vec2u(first, second);
  let q = queries * row4 + (params.q + group.y * params.head) / 4u;
  let o = (queries * params.heads + group.y) * s4;
  let q_lane = select(q.x, q.y, lane % 2u == 1u);
  let o_lane = select(o.x, o.y, lane % 2u == 1u);
  let rows = queries * params.heads + group.y;
  let left = group.z * 2u * LANES + lane; // this lane's two columns of k and dq
  let right = left + LANES;
  let columns = min(vec2u(left, right), vec2u(s4 - 1u));

  // δ = do·o
  var products = vec2f();
  for (var c = lane; c < s4; c += LANES) {
    products += vec2f(dot(dout[o.x + c], out[o.x + c]), dot(dout[o.y + c], out[o.y + c]));
  }
  let dot_out = vec2f(subgroupAdd(products.x), subgroupAdd(products.y));
  let lse = vec2f(logsumexp[rows.x], logsumexp[rows.y]);

  // dq = 1/√S Σ_j da_j k_j
  var dq0 = mat2x4f();
  var dq1 = mat2x4f();
  for (var part = 1u - PREFIX; part < 2u; part++) {
    let cached = part == 0u;
    let n = select(span.w + second - first, span.y, cached); // keys that the second query sees
    let n0 = select(span.w, span.y, cached);
    let stride = select(row4, params.cache_stride / 4u, cached);
    let keys_at = select(params.k, params.cache_k, cached) / 4u + head;
    let keys = select(span.z, span.x, cached) * stride + keys_at;
    for (var base = 0u; base < n; base += LANES) {
      let key = base + lane;
      let k = keys + min(key, n - 1u) * stride;
      let v = k + to_v;
      var a = vec2f();
      var dp = vec2f();
      for (var c = 0u; c < s4; c++) {
        let k4 = key_value(k + c, cached);
        let v4 = key_value(v + c, cached);
        let q4 = qkv[q_lane + c]; // lane 0 loads the first query's, lane 1 the second's
        let do4 = dout[o_lane + c];
        a += vec2f(dot(subgroupBroadcast(q4, 0u), k4), dot(subgroupBroadcast(q4, 1u), k4));
        dp += vec2f(dot(subgroupBroadcast(do4, 0u), v4), dot(subgroupBroadcast(do4, 1u), v4));
      }
      let seen = vec2u(key) < vec2u(n0, n);
      let p = select(vec2f(), exp_of(min(a * params.scale - lse, vec2f())), seen);
      let da = p * (dp - dot_out) * params.scale;
      for (var l = 0u; l < min(LANES, n - base); l++) {
        let kl = keys + (base + l) * stride;
        let k4 = mat2x4f(key_value(kl + columns.x, cached), second_column(kl + columns.y, cached));
        let dal = subgroupShuffle(da, l);
        dq0 += dal.x * k4;
        dq1 += dal.y * k4;
      }
    }
  }
  if (left < s4) {
    dqkv[q.x + left] = dq0[0];
    dqkv[q.y + left] = dq1[0];
  }
  if (COLUMNS == 2u && right < s4) {
    dqkv[q.x + right] = dq0[1];
    dqkv[q.y + right] = dq1[1];
  }
  if (lane == 0u && group.z == 0u) {
    delta[rows.x] = dot_out.x;
    delta[rows.y] = dot_out.y;
  }
}
