// What a factorisation starts from: A = C + ridge · I, and its diagonal.
//
//   l ← C, 0 above the diagonal,   l_ii ← C_ii + ridge (1 in the padding),   diagonal_i = l_ii
//
// Shapes   c, l: lower panels of order F from panel `first` on, of n in all (src/edit/panels.ts);
//          diagonal [64 n].
// Work     one thread an element; x over the elements of panel `first`, y over panels.
// Cost     8 bytes an element.
// Test     test/cholesky.test.ts

override WG: u32 = 64u;

struct Params { f: u32, n: u32, first: u32, ridge: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read_write> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> diagonal: array<f32>;

// First row of panel p.
fn panel_row(p: u32) -> u32 { return 64u * (p * params.n - (p * p - p) / 2u); }

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let p = params.first + group.y;
  let e = group.x * WG + thread;
  if (e >= 64u * 64u * (params.n - p)) { return; }
  let at = 64u * (panel_row(p) - panel_row(params.first)) + e;
  if (e / 64u != e % 64u) {
    l[at] = select(0.0, c[at], e / 64u > e % 64u);
    return;
  }
  let i = 64u * p + e % 64u;
  let value = select(1.0, c[at] + params.ridge, i < params.f);
  l[at] = value;
  diagonal[i] = value;
}
