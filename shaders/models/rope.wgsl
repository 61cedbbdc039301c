// Rotary positions: turns pairs of components of every head of q and k by its position's angles.
//
//   (x_a, x_b) -> (x_a cos - x_b sin, x_b cos + x_a sin),   angle = position · frequency_j
//   a, b = 2j, 2j + 1 with INTERLEAVED (GPT-J), else j, j + R/2 (GPT-NeoX, Llama, Qwen)
//
// Shapes   qkv [T, row], turned in place: heads as in attention_1, the first R = 2 pairs of each;
//          positions u32 [T]; table [P, pairs] of (cos, sin). Beyond the table nothing turns.
// Work     one thread a pair of one head of q or k.
// Cost     16 T (H + KV) pairs bytes, 6 flops a pair.
// Numerics angles are made in float64 and their cosines rounded once. BACK turns the other way,
//          which is the gradient, for a rotation is orthogonal.
// Source   Su et al. 2021, eq. 34; halves: Black et al. 2022, section 2.1.
// Test     test/rope.test.ts

override WG: u32 = 64u;
override INTERLEAVED: u32 = 0u;
override BACK: u32 = 0u;

// queries: heads of q; all: of q and k. head, q, k: as in attention_1.
struct Params {
  tokens: u32,
  queries: u32,
  all: u32,
  pairs: u32,
  row: u32,
  head: u32,
  q: u32,
  k: u32,
  positions: u32, // of the table
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> qkv: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.tokens * params.all * params.pairs) { return; }
  let j = i % params.pairs;
  let head = i / params.pairs % params.all;
  let token = i / params.pairs / params.all;
  let first = select(
    params.k + (head - params.queries) * params.head,
    params.q + head * params.head,
    head < params.queries,
  );
  let start = token * params.row + first;
  let a = start + select(j, 2u * j, INTERLEAVED == 1u);
  let b = select(a + params.pairs, a + 1u, INTERLEAVED == 1u);

  // (x_a, x_b) -> (x_a cos - x_b sin, x_b cos + x_a sin)
  let position = positions[token];
  if (position >= params.positions) { return; }
  var turn = table[position * params.pairs + j];
  if (BACK == 1u) { turn.y = -turn.y; }
  let x = vec2f(qkv[a], qkv[b]);
  qkv[a] = x.x * turn.x - x.y * turn.y;
  qkv[b] = x.y * turn.x + x.x * turn.y;
}
