// Causal multi-head attention: a subgroup for each head and eight queries of a row.
//
//   o_i = Σ_j p_ij v_j,   p_ij = exp(a_ij - L_i),   a_ij = q_i·k_j / √S,   L_i = ln Σ_j exp(a_ij)
//
// What changed  Eight queries instead of two share the loads of k and v, and a lane scores four
//          keys, so that a broadcast of q feeds four products: two register-tiled matrix products
//          with the softmax in between. The rung for whole rows on software adapters.
// Shapes   as in attention_1, S a multiple of 4; tiles u32 [N, 2]: first query and count (1 to 8)
//          of each tile, all of one row.
// Work     workgroup x: tile, y: head, z: the columns z · 8 LANES and on. One subgroup, 4 or more.
// Cost     4 S flops for each query, head and key seen; keys in steps of 4 LANES.
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

const FOUR = vec4u(0u, 1u, 2u, 3u);

fn key_value(i: u32, cached: bool) -> vec4f {
  if (PREFIX == 1u && cached) { return cache[i]; }
  return qkv[i];
}

// At a lane's second column
fn second_column(i: u32, cached: bool) -> vec4f {
  if (COLUMNS == 1u) { return vec4f(); }
  return key_value(i, cached);
}

// The largest score of the four keys of every lane
fn largest(a: vec4f) -> f32 { return subgroupMax(max(max(a.x, a.y), max(a.z, a.w))); }

fn total(p: vec4f) -> f32 { return p.x + p.y + p.z + p.w; }

// eˣ. The built-in one may err by 3 + 2 |x| ulp, and does. Here x = n ln 2 + r; a series gives eʳ.
fn exp_of(x: vec4f) -> vec4f {
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4; // n ln 2 in two parts
  var p = r / 5040.0 + 1.0 / 720.0;
  p = (p * r + 1.0 / 120.0) * r + 1.0 / 24.0;
  p = (p * r + 1.0 / 6.0) * r + 0.5;
  let two_to_n = bitcast<vec4f>((vec4i(n) + 127) << vec4u(23u));
  return select(exp(x), (1.0 + (r + r * r * p)) * two_to_n, abs(x) < vec4f(87.0));
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
  let q_at = (params.q + group.y * params.head) / 4u;
  let first = tiles[group.x].x;
  let count = tiles[group.x].y;
  let span = spans[first];
  // The first four lanes hold queries 0 to 3, and 4 to 7; queries beyond the tile repeat its last.
  let q_low = (first + min(lane % 4u, count - 1u)) * row4 + q_at;
  let q_high = (first + min(lane % 4u + 4u, count - 1u)) * row4 + q_at;
  let left = group.z * 2u * LANES + lane; // this lane's two columns of v and o
  let right = left + LANES;
  let columns = min(vec2u(left, right), vec2u(s4 - 1u));

  var o0 = mat2x4f();
  var o1 = mat2x4f();
  var o2 = mat2x4f();
  var o3 = mat2x4f();
  var o4 = mat2x4f();
  var o5 = mat2x4f();
  var o6 = mat2x4f();
  var o7 = mat2x4f();
  var top_low = vec4f(-1.0e30);
  var top_high = vec4f(-1.0e30);
  var sum_low = vec4f();
  var sum_high = vec4f();
  for (var part = 1u - PREFIX; part < 2u; part++) {
    let cached = part == 0u;
    let n = select(span.w + count - 1u, span.y, cached); // keys that the last query sees
    let stride = select(row4, params.cache_stride / 4u, cached);
    let keys_at = select(params.k, params.cache_k, cached) / 4u + head;
    let keys = select(span.z, span.x, cached) * stride + keys_at;
    let seen_low = min(select(span.w + FOUR, vec4u(n), cached), vec4u(n));
    let seen_high = min(select(span.w + 4u + FOUR, vec4u(n), cached), vec4u(n));
    for (var base = 0u; base < n; base += 4u * LANES) {
      // a = q·k / √S, four keys a lane
      let key = base + 4u * lane + FOUR;
      let k = keys + min(key, vec4u(n - 1u)) * stride;
      var a0 = vec4f();
      var a1 = vec4f();
      var a2 = vec4f();
      var a3 = vec4f();
      var a4 = vec4f();
      var a5 = vec4f();
      var a6 = vec4f();
      var a7 = vec4f();
      for (var c = 0u; c < s4; c++) {
        let k4 = transpose(mat4x4f(
          key_value(k.x + c, cached),
          key_value(k.y + c, cached),
          key_value(k.z + c, cached),
          key_value(k.w + c, cached),
        ));
        let low = qkv[q_low + c];
        let high = qkv[q_high + c];
        a0 += k4 * subgroupBroadcast(low, 0u);
        a1 += k4 * subgroupBroadcast(low, 1u);
        a2 += k4 * subgroupBroadcast(low, 2u);
        a3 += k4 * subgroupBroadcast(low, 3u);
        a4 += k4 * subgroupBroadcast(high, 0u);
        a5 += k4 * subgroupBroadcast(high, 1u);
        a6 += k4 * subgroupBroadcast(high, 2u);
        a7 += k4 * subgroupBroadcast(high, 3u);
      }
      a0 = select(vec4f(-1.0e30), a0 * params.scale, key < vec4u(seen_low.x));
      a1 = select(vec4f(-1.0e30), a1 * params.scale, key < vec4u(seen_low.y));
      a2 = select(vec4f(-1.0e30), a2 * params.scale, key < vec4u(seen_low.z));
      a3 = select(vec4f(-1.0e30), a3 * params.scale, key < vec4u(seen_low.w));
      a4 = select(vec4f(-1.0e30), a4 * params.scale, key < vec4u(seen_high.x));
      a5 = select(vec4f(-1.0e30), a5 * params.scale, key < vec4u(seen_high.y));
      a6 = select(vec4f(-1.0e30), a6 * params.scale, key < vec4u(seen_high.z));
      a7 = select(vec4f(-1.0e30), a7 * params.scale, key < vec4u(seen_high.w));

      // o and the sum shrink to the new maximum
      let now_low = max(top_low, vec4f(largest(a0), largest(a1), largest(a2), largest(a3)));
      let now_high = max(top_high, vec4f(largest(a4), largest(a5), largest(a6), largest(a7)));
      let shrink_low = exp_of(top_low - now_low);
      let shrink_high = exp_of(top_high - now_high);
      top_low = now_low;
      top_high = now_high;
      a0 = exp_of(a0 - now_low.x);
      a1 = exp_of(a1 - now_low.y);
      a2 = exp_of(a2 - now_low.z);
      a3 = exp_of(a3 - now_low.w);
      a4 = exp_of(a4 - now_high.x);
      a5 = exp_of(a5 - now_high.y);
      a6 = exp_of(a6 - now_high.z);
      a7 = exp_of(a7 - now_high.w);
      sum_low = sum_low * shrink_low + vec4f(total(a0), total(a1), total(a2), total(a3));
      sum_high = sum_high * shrink_high + vec4f(total(a4), total(a5), total(a6), total(a7));
      o0 *= shrink_low.x;
      o1 *= shrink_low.y;
      o2 *= shrink_low.z;
      o3 *= shrink_low.w;
      o4 *= shrink_high.x;
      o5 *= shrink_high.y;
      o6 *= shrink_high.z;
      o7 *= shrink_high.w;

      // o += p v, four keys at a time, two columns a lane
      for (var l = 0u; l < min(LANES, (n - base + 3u) / 4u); l++) {
        let v = keys + to_v + min(base + 4u * l + FOUR, vec4u(n - 1u)) * stride;
        let v_left = mat4x4f(
          key_value(v.x + columns.x, cached),
          key_value(v.y + columns.x, cached),
          key_value(v.z + columns.x, cached),
          key_value(v.w + columns.x, cached),
        );
        let v_right = mat4x4f(
          second_column(v.x + columns.y, cached),
          second_column(v.y + columns.y, cached),
          second_column(v.z + columns.y, cached),
          second_column(v.w + columns.y, cached),
        );
        let p0 = subgroupShuffle(a0, l);
        o0 += mat2x4f(v_left * p0, v_right * p0);
        let p1 = subgroupShuffle(a1, l);
        o1 += mat2x4f(v_left * p1, v_right * p1);
        let p2 = subgroupShuffle(a2, l);
        o2 += mat2x4f(v_left * p2, v_right * p2);
        let p3 = subgroupShuffle(a3, l);
        o3 += mat2x4f(v_left * p3, v_right * p3);
        let p4 = subgroupShuffle(a4, l);
        o4 += mat2x4f(v_left * p4, v_right * p4);
        let p5 = subgroupShuffle(a5, l);
        o5 += mat2x4f(v_left * p5, v_right * p5);
        let p6 = subgroupShuffle(a6, l);
        o6 += mat2x4f(v_left * p6, v_right * p6);
        let p7 = subgroupShuffle(a7, l);
        o7 += mat2x4f(v_left * p7, v_right * p7);
      }
    }
  }

  let total_low = subgroupAdd(sum_low);
  let total_high = subgroupAdd(sum_high);
  var o = array<mat2x4f, 8>(
    o0 * (1.0 / total_low.x),
    o1 * (1.0 / total_low.y),
    o2 * (1.0 / total_low.z),
    o3 * (1.0 / total_low.w),
    o4 * (1.0 / total_high.x),
    o5 * (1.0 / total_high.y),
    o6 * (1.0 / total_high.z),
    o7 * (1.0 / total_high.w),
  );
  var l = array<vec4f, 2>(top_low + log(total_low), top_high + log(total_high));
  for (var i = 0u; i < count; i++) {
    let y = (first + i) * d4 + group.y * s4;
    if (left < s4) { out[y + left] = o[i][0]; }
    if (COLUMNS == 2u && right < s4) { out[y + right] = o[i][1]; }
    if (lane == 0u && group.z == 0u) {
      logsumexp[(first + i) * params.heads + group.y] = l[i / 4u][i % 4u];
    }
  }
}
