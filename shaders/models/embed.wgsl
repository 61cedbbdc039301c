// Embeddings of tokens, and of positions where they are learned: the stream that enters the first
// block.
//
//   y_t = wte[id_t] (+ wpe[pos_t])      for tokens with first_row <= id_t < first_row + rows
//
// Shapes   wte [rows, D]: one window of the [V, D] table, which may exceed one binding;
//          wpe [n_ctx, D]; ids, positions u32 [T]; y [T, D]. Every token lies in one window, so
//          the windows' dispatches together write every row of y once.
// Work     one thread an element of y; grids beyond 65,535 groups are folded to two dimensions.
// Cost     12 T D bytes from float32 tables, T D flops.
// Numerics a table stored in 16 bits (two numbers in each word, low half first) is widened exactly.
// Source   Radford et al. 2019; openai/gpt-2 `model` in src/model.py.
// Test     test/embed.test.ts

override WG: u32 = 64u;
override WTE: u32 = 0u; // how wte is stored: 0 float32, 1 float16, 2 bfloat16
override WPE: u32 = 0u; // the same, or 3: there are no positions

struct Params { tokens: u32, d: u32, first_row: u32, rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> wte: array<u32>;
@group(0) @binding(4) var<storage, read> wpe: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// Element e of a table, whose word it lies in, as it is stored.
fn widen(word: u32, e: u32, kind: u32) -> f32 {
  if (kind == 0u) { return bitcast<f32>(word); }
  if (kind == 1u) { return unpack2x16float(word)[e % 2u]; }
  return bitcast<f32>(select(word << 16u, word & 0xffff0000u, e % 2u == 1u));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.y * (groups.x * WG) + id.x;
  if (i >= params.tokens * params.d) { return; }
  let t = i / params.d;
  let c = i % params.d;
  if (ids[t] < params.first_row || ids[t] - params.first_row >= params.rows) { return; }
  let e = (ids[t] - params.first_row) * params.d + c;
  let token = widen(wte[select(e, e / 2u, WTE > 0u)], e, WTE);
  if (WPE == 3u) {
    y[i] = token;
    return;
  }
  let p = positions[t] * params.d + c;
  y[i] = token + widen(wpe[select(p, p / 2u, WPE > 0u)], p, WPE);
}
