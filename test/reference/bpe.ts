/**
 * Byte-pair encoding from its definition: merge the pair of lowest rank, the leftmost first, until none is left.
 *
 * @param ranks  "left right" -> rank
 */
export function mergeSlowly(word: string, ranks: ReadonlyMap<string, number>): string[] {
  const parts = [...word];
  for (;;) {
    let best = -1;
    let lowest = Infinity;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
      if (rank < lowest) [best, lowest] = [i, rank];
    }
    if (best < 0) return parts;
    parts.splice(best, 2, `${parts[best]}${parts[best + 1]}`);
  }
}
