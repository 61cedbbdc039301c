/**
 * Which beginnings of rows are worth computing once.
 *
 * The prompts of one record begin alike ("The mother tongue of …"), and so do a prompt and its two objects. Rows are
 * put in groups; the common beginning of a group is computed in a first pass, and in a second one every row of the
 * group reads its keys and values. Each row has one beginning, so the groups are chosen such that they save most.
 */

export interface SharedPrefixes {
  /** The beginnings, in the order in which the first pass lays them out. */
  readonly prefixes: readonly (readonly number[])[];
  /** [B] tokens of each row that the first pass computes; 0 for a row in no group. */
  readonly from: readonly number[];
  /** [B] where the first token of that beginning lies among all tokens of the first pass. */
  readonly cacheStart: readonly number[];
}

interface Group {
  readonly rows: readonly number[];
  /** Length of the beginning. */
  readonly length: number;
}

/**
 * @param rows  token ids
 * @param limit [B] how many tokens of each row may be left to the first pass, less than its length
 */
export function sharePrefixes(
  rows: readonly (readonly number[])[],
  limit: readonly number[],
): SharedPrefixes {
  const order = rows.map((_, b) => b).sort((a, b) => compare(rows[a] ?? [], rows[b] ?? []));
  const { groups } = best(rows, limit, order);
  const from = rows.map(() => 0);
  const cacheStart = rows.map(() => 0);
  let start = 0;
  const prefixes = groups.map(({ rows: members, length }) => {
    for (const b of members) [from[b], cacheStart[b]] = [length, start];
    start += length;
    return (rows[members[0] ?? 0] ?? []).slice(0, length);
  });
  return { prefixes, from, cacheStart };
}

/** The groups within `members`, which are sorted, that save most tokens: all of them as one, or the best of each branch. */
function best(
  rows: readonly (readonly number[])[],
  limit: readonly number[],
  members: readonly number[],
): { saved: number; groups: Group[] } {
  if (members.length < 2) return { saved: 0, groups: [] };
  const common = commonLength(rows[members[0] ?? 0] ?? [], rows[members.at(-1) ?? 0] ?? []);
  const length = members.reduce((least, b) => Math.min(least, limit[b] ?? 0), common);
  const together = { saved: length * (members.length - 1), groups: [{ rows: members, length }] };
  let apart = { saved: 0, groups: [] as Group[] };
  for (const branch of branches(rows, members, common)) {
    // Equal rows cannot be told apart any further.
    if (branch.length === members.length) break;
    const { saved, groups } = best(rows, limit, branch);
    apart = { saved: apart.saved + saved, groups: [...apart.groups, ...groups] };
  }
  if (apart.saved > together.saved) return apart;
  return together.saved > 0 ? together : { saved: 0, groups: [] };
}

/** Runs of `members` with the same token at `position`. */
function branches(
  rows: readonly (readonly number[])[],
  members: readonly number[],
  position: number,
): number[][] {
  const found: number[][] = [];
  let token: number | undefined;
  for (const b of members) {
    const next = rows[b]?.[position];
    const run = found.at(-1);
    if (run && next === token) run.push(b);
    else found.push([b]);
    token = next;
  }
  return found;
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = commonLength(a, b);
  return (a[at] ?? -1) - (b[at] ?? -1);
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n += 1;
  return n;
}
