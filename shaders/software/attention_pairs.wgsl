// Causal multi-head attention: a subgroup for each head and pair of queries.
//
//   o_i = Σ_j p_ij v_j,   p_ij = exp(a_ij - L_i),   a_ij = q_i·k_j / √S,   L_i = ln Σ_j exp(a_ij)
//
// What changed  Lanes first run along the keys (a lane makes the whole score of one key), then
//          along the columns of v. Two queries share every load of k and v; the sums stay in
//          registers. The rung for few queries in a row: suffixes of an edit, and generation.
// Shapes   as in attention_1, S a multiple of 4; tiles u32 [N, 2]: first query and count (1 or 2)
//          of each pair, both of one row.
// Work     workgroup x: tile, y: head, z: the columns z · 8 LANES and on. One subgroup each.
// Cost     4 S flops for each query, head and key seen; keys in steps of LANES.
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
@group(0) @binding(4) var<storage, read> tiles: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> logsumexp: array<f32>;

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
  let s4 = params.s / 4u;
  let d4 = params.heads * s4;
  let row4 = params.row / 4u;
  let to_v = (params.v - params.k) / 4u;
  let head = group.y / params.group * (params.head / 4u); // of keys
  let first = tiles[group.x].x;
  let second = first + tiles[group.x].y - 1u; // the first again in a tile of one
  let span = spans[first];
  let q4_at = (params.q + group.y * params.head) / 4u;
  let q = select(first, second, lane % 2u == 1u) * row4 + q4_at;
  let left = group.z * 2u * LANES + lane; // this lane's two columns of v and o
  let right = left + LANES;
  let columns = min(vec2u(left, right), vec2u(s4 - 1u));

  var o0 = mat2x4f();
  var o1 = mat2x4f();
  var top = vec2f(-1.0e30);
  var sum = vec2f();
  for (var part = 1u - PREFIX; part < 2u; part++) {
    let cached = part == 0u;
    let n = select(span.w + second - first, span.y, cached); // keys that the second query sees
    let n0 = select(span.w, span.y, cached);
    let stride = select(row4, params.cache_stride / 4u, cached);
    let keys_at = select(params.k, params.cache_k, cached) / 4u + head;
    let keys = select(span.z, span.x, cached) * stride + keys_at;
    for (var base = 0u; base < n; base += LANES) {
      // a = q·k / √S, one key a lane
      let key = base + lane;
      let k = keys + min(key, n - 1u) * stride;
      var a = vec2f();
      for (var c = 0u; c < s4; c++) {
        let k4 = key_value(k + c, cached);
        let q4 = qkv[q + c]; // lane 0 loads the first query's, lane 1 the second's
        a += vec2f(dot(subgroupBroadcast(q4, 0u), k4), dot(subgroupBroadcast(q4, 1u), k4));
      }
      a = select(vec2f(-1.0e30), a * params.scale, vec2u(key) < vec2u(n0, n));

      // o and the sum shrink to the new maximum
      let now = max(top, vec2f(subgroupMax(a.x), subgroupMax(a.y)));
      let shrink = exp_of(top - now);
      let p = exp_of(a - now);
      top = now;
      sum = sum * shrink + p;
      o0 *= shrink.x;
      o1 *= shrink.y;

      // o += p v, two columns a lane
      for (var l = 0u; l < min(LANES, n - base); l++) {
        let v = keys + to_v + (base + l) * stride;
        let v4 = mat2x4f(key_value(v + columns.x, cached), second_column(v + columns.y, cached));
        let pl = subgroupShuffle(p, l);
        o0 += pl.x * v4;
        o1 += pl.y * v4;
      }
    }
  }

  let total = vec2f(subgroupAdd(sum.x), subgroupAdd(sum.y));
  let y = vec2u(first, second) * d4 + group.y * s4;
  // A tile of one writes its query twice, with the same numbers.
  if (left < s4) {
    out[y.x + left] = o0[0] / total.x;
    out[y.y + left] = o1[0] / total.y;
  }
  if (COLUMNS == 2u && right < s4) {
    out[y.x + right] = o0[1] / total.x;
    out[y.y + right] = o1[1] / total.y;
  }
  if (lane == 0u && group.z == 0u) {
    logsumexp[first * params.heads + group.y] = top.x + log(total.x);
    logsumexp[second * params.heads + group.y] = top.y + log(total.y);
  }
}
