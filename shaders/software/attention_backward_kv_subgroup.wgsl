// Gradient of attention by the batch's own keys and values: a subgroup for each key and head of
// keys.
//
//   dv_j = Σ_i p_ij do_i,   dk_j = 1/√S Σ_i da_ij q_i        over the queries i that see key j,
//                                                           of every head that reads k_j and v_j
//   p_ij = exp(q_i·k_j / √S - L_i),   da_ij = p_ij (do_i·v_j - δ_i)
//
// What changed  Lanes run along the queries (a lane makes p and da of one), then along the columns
//          of q and do, so that dk and dv stay in registers and a load brings four numbers.
// Shapes   as in attention_backward_kv_1, S a multiple of 4.
// Work     workgroup x: key, y: head of keys, z: the columns z · 8 LANES and on. One subgroup each.
// Cost     8 S flops for each key, head and query that sees it; queries in steps of LANES.
// Test     test/attention.test.ts

enable subgroups;

override LANES: u32 = 8u; // the adapter's subgroup size
override GROUP: u32 = 1u; // params.group, known to the compiler: with 1 there is no loop over heads

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

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let s4 = params.s / 4u;
  let d4 = params.heads * s4;
  let row4 = params.row / 4u;
  let token = group.x * params.row + group.y * params.head;
  let k = (token + params.k) / 4u;
  let v = (token + params.v) / 4u;
  let seen = followers[group.x];
  let left = group.z * 2u * LANES + lane; // this lane's two columns
  let right = left + LANES;
  let columns = min(vec2u(left, right), vec2u(s4 - 1u));

  var dk = mat2x4f();
  var dv = mat2x4f();
  for (var member = 0u; member < GROUP; member++) {
    let h = group.y * GROUP + member;
    let q = (params.q + h * params.head) / 4u;
    for (var base = 0u; base < seen.y; base += LANES) {
      let n = min(LANES, seen.y - base);
      let i = seen.x + base + min(lane, n - 1u);
      let row = i * params.heads + h;
      let qi = i * row4 + q;
      let doi = row * s4;
      var a = 0.0;
      var dp = 0.0;
      for (var c = 0u; c < s4; c++) {
        a += dot(qkv[qi + c], qkv[k + c]);
        dp += dot(dout[doi + c], qkv[v + c]);
      }
      let p = exp_of(a * params.scale - logsumexp[row]);
      let da = p * (dp - delta[row]) * params.scale;

      // dk += 1/√S da q,   dv += p do
      var q4 = (seen.x + base) * row4 + q + columns;
      var do4 = ((seen.x + base) * params.heads + h) * s4 + columns;
      for (var l = 0u; l < n; l++) {
        dk += subgroupShuffle(da, l) * mat2x4f(qkv[q4.x], qkv[q4.y]);
        dv += subgroupShuffle(p, l) * mat2x4f(dout[do4.x], dout[do4.y]);
        q4 += row4;
        do4 += d4;
      }
    }
  }
  if (left < s4) {
    dqkv[k + left] = dk[0];
    dqkv[v + left] = dv[0];
  }
  if (right < s4) {
    dqkv[k + right] = dk[1];
    dqkv[v + right] = dv[1];
  }
}
