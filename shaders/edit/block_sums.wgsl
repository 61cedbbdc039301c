// Sum of squares and trace of every 64 x 64 block of a matrix.
//
//   sums_b = Σ_ij c_ij², Σ_i c_ii   over block b
//
// Shapes   c [64 blocks, 64]; sums [blocks, 2].
// Work     one workgroup a block, a thread a row; the rows' sums are added in a tree: a fixed
//          order.
// Cost     4 bytes and 2 flops an element.
// Test     test/solve.test.ts

struct Params { blocks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2f>;

var<workgroup> parts: array<vec2f, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) row: u32,
) {
  let block = group.y * groups.x + group.x;
  let at = (64u * min(block, params.blocks - 1u) + row) * 16u;
  // Σ_j c_ij²
  var squares = 0.0;
  for (var k = 0u; k < 16u; k++) { squares += dot(c[at + k], c[at + k]); }
  parts[row] = vec2f(squares, c[at + row / 4u][row % 4u]);
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (row < half) { parts[row] += parts[row + half]; }
  }
  if (row == 0u && block < params.blocks) { sums[block] = parts[0]; }
}
