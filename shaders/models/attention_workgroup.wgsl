// Causal multi-head attention with workgroup memory, for GPUs: a thread for each query of a tile.
//
//   o_i = Σ_j p_ij v_j,   p_ij = exp(a_ij - L_i),   a_ij = q_i·k_j / √S,   L_i = ln Σ_j exp(a_ij)
//
// What changed  The threads of a workgroup load KEYS keys and values together and then all read
//          them from workgroup memory; q and o stay in registers. A tile of WG queries reads each
//          key from memory once.
// Shapes   as in attention_1, S a multiple of 4 up to 64; tiles u32 [N, 2]: first query and count
//          (1 to WG) of each tile, all of one row.
// Work     one workgroup a tile (x) and head (y), one thread a query.
// Cost     4 S flops for each query, head and key seen; 512 KEYS bytes of workgroup memory.
// Source   Dao et al. 2022, algorithm 1, without its loop over queries.
// Test     test/attention.test.ts

override WG: u32 = 64u;
override KEYS: u32 = 16u;

const S4 = 16u; // vec4s of the widest head

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

var<workgroup> keys: array<vec4f, KEYS * S4>;
var<workgroup> values: array<vec4f, KEYS * S4>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let s4 = params.s / 4u;
  let head = group.y / params.group * params.head; // of keys
  let to_v = (params.v - params.k) / 4u;
  let first = tiles[group.x].x;
  let count = tiles[group.x].y;
  let last = spans[first + count - 1u];
  let query = first + min(thread, count - 1u); // threads beyond the tile repeat its last
  let seen = spans[query].y + spans[query].w;

  var q: array<vec4f, S4>;
  var o: array<vec4f, S4>;
  let q_at = (query * params.row + params.q + group.y * params.head) / 4u;
  for (var c = 0u; c < s4; c++) { q[c] = qkv[q_at + c] * params.scale; }
  var top = -1.0e30;
  var sum = 0.0;
  for (var base = 0u; base < last.y + last.w; base += KEYS) {
    let n = min(KEYS, last.y + last.w - base);
    workgroupBarrier(); // before the next keys overwrite these
    for (var i = thread; i < n * s4; i += WG) {
      let j = base + i / s4;
      if (j < last.y) {
        let at = ((last.x + j) * params.cache_stride + params.cache_k + head) / 4u + i % s4;
        keys[i] = cache[at];
        values[i] = cache[at + to_v];
      } else {
        let at = ((last.z + j - last.y) * params.row + params.k + head) / 4u + i % s4;
        keys[i] = qkv[at];
        values[i] = qkv[at + to_v];
      }
    }
    workgroupBarrier();
    for (var j = 0u; j < n; j++) {
      // a = q·k / √S
      var a = 0.0;
      for (var c = 0u; c < s4; c++) { a += dot(q[c], keys[j * s4 + c]); }
      a = select(-1.0e30, a, base + j < seen);

      // o = o exp(m_old - m) + exp(a - m) v,   m = max(m_old, a)
      let shrink = exp(top - max(top, a));
      top = max(top, a);
      let p = exp(a - top);
      sum = sum * shrink + p;
      for (var c = 0u; c < s4; c++) { o[c] = o[c] * shrink + p * values[j * s4 + c]; }
    }
  }
  if (thread >= count) { return; }
  let row = query * params.heads + group.y;
  for (var c = 0u; c < s4; c++) { out[row * s4 + c] = o[c] / sum; }
  logsumexp[row] = top + log(sum);
}
