// What a factorisation starts from: A = C + ridge · I, and its diagonal.
//
//   l ← C, 0 above the diagonal,   l_ii ← C_ii + ridge (1 in the padding),   diagonal_i = l_ii
//
// Shapes   c, l: lower panels of order F, n of them (src/edit/panels.ts); diagonal [64 n].
// Work     one thread an element; x over the first panel's elements, y over panels.
// Cost     8 bytes an element.
// Test     test/cholesky.test.ts

override WG: u32 = 64u;

struct Params { f: u32, n: u32, ridge: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read_write> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> diagonal: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let p = group.y;
  let e = group.x * WG + thread;
  if (e >= 64u * 64u * (params.n - p)) { return; }
  let at = 64u * 64u * (p * params.n - (p * p - p) / 2u) + e;
  if (e / 64u != e % 64u) {
    l[at] = select(0.0, c[at], e / 64u > e % 64u);
    return;
  }
  let i = 64u * p + e % 64u;
  let value = select(1.0, c[at] + params.ridge, i < params.f);
  l[at] = value;
  diagonal[i] = value;
}
