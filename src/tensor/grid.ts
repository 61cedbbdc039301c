/** Shapes of dispatches that several ops share. */

const MAX_GROUPS = 65_535; // of one dimension

/** One workgroup a row, in two dimensions where one does not reach: row = group.y · groups.x + group.x. */
export function groupPerRow(rows: number): readonly [number, number] {
  const x = Math.min(rows, MAX_GROUPS);
  return [x, x === 0 ? 0 : Math.ceil(rows / x)];
}
