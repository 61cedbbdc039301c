/**
 * The first tokens of one enormous word (a megabyte of letters without a blank), without merging all of it.
 *
 * Two facts about byte-pair encoding make this exact:
 * 1. cut an encoding at any of its boundaries, and both halves are the encodings of their own text;
 * 2. a sequence of encodings may be joined when, and only when, the last token of one and the first token of the next,
 *    encoded together, come out as the same two tokens.
 *
 * Tokens are at most `longest` bytes, so the whole word's encoding has a boundary p among any `longest` neighbouring
 * positions, and left of p it is the encoding of word[0, p) (fact 1). If each of these candidates agrees up to a
 * boundary b, the whole word does too.
 *
 * @see "So many tokens, so little time", GitHub Engineering 2024, for a proof of fact 2
 */
export type Merge = (written: string) => readonly string[];

/** A word up to this many bytes is simply encoded. */
export const LONG_WORD = 4096;

/**
 * @param written  the word in the byte alphabet, one character a byte
 * @param need     how many tokens are wanted
 * @param longest  bytes of the longest token
 * @returns        the first tokens of `merge(written)`: at least `need`, or all of them
 */
export function firstTokens(written: string, need: number, longest: number, merge: Merge): readonly string[] {
  const tail = 16 * longest;
  for (let bytes = 4 * need + 2 * tail; bytes < written.length; bytes *= 2) {
    const settled = settledTokens(written.slice(0, bytes), tail, longest, merge);
    if (settled.length >= need) return settled;
  }
  return merge(written);
}

/** The tokens at the start of `head` that stay the same whatever follows it; maybe none. */
function settledTokens(head: string, tail: number, longest: number, merge: Merge): readonly string[] {
  const tokens = merge(head);
  let b = 0;
  let count = 0;
  for (const token of tokens) {
    if (b + token.length > head.length - tail) break;
    b += token.length;
    count += 1;
  }
  const last = tokens[count - 1];
  if (last === undefined) return [];
  for (let p = head.length - longest + 1; p <= head.length; p++) {
    const first = merge(head.slice(b, p))[0] ?? '';
    const pair = merge(last + first);
    if (pair.length !== 2 || pair[0] !== last) return [];
  }
  return tokens.slice(0, count);
}
