// Token and position embeddings: the residual stream that enters the first block.
//
//   y_t = wte[id_t] + wpe[pos_t]        for tokens with first_row <= id_t < first_row + rows
//
// Shapes   wte [rows, D]: one window of the [V, D] table, which may exceed one binding;
//          wpe [n_ctx, D]; ids, positions u32 [T]; y [T, D]. Every token lies in one window, so
//          the windows' dispatches together write every row of y once.
// Work     one thread an element of y; grids beyond 65,535 groups are folded to two dimensions.
// Cost     12 T D bytes from float32 tables, T D flops.
// Numerics a table stored as float16 (two in each word, low half first) is widened exactly.
// Source   Radford et al. 2019; openai/gpt-2 `model` in src/model.py.
// Test     test/embed.test.ts

override WG: u32 = 64u;
override WTE_F16: u32 = 0u; // 1: wte holds float16
override WPE_F16: u32 = 0u;

struct Params { tokens: u32, d: u32, first_row: u32, rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> wte: array<u32>;
@group(0) @binding(4) var<storage, read> wpe: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

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
  let p = positions[t] * params.d + c;
  var token = bitcast<f32>(wte[select(e, e / 2u, WTE_F16 == 1u)]);
  if (WTE_F16 == 1u) { token = unpack2x16float(wte[e / 2u])[e % 2u]; }
  var place = bitcast<f32>(wpe[select(p, p / 2u, WPE_F16 == 1u)]);
  if (WPE_F16 == 1u) { place = unpack2x16float(wpe[p / 2u])[p % 2u]; }
  y[i] = token + place;
}
