/**
 * GPT-2 cuts text into words before it merges bytes; no token ever crosses such a cut.
 *
 * The published pattern, alternatives tried in this order:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * It is walked by hand for three reasons: JavaScript's `\s` is not Unicode's white space (it holds U+FEFF and lacks
 * U+0085, which changes ids); a regular expression overflows its stack on a megabyte of emoji; and a caller who
 * needs 1,024 tokens of a 10 MB document can stop early.
 *
 * @see Radford et al. 2019, `Encoder.pat` of openai/gpt-2
 */
const LETTER = 1;
const NUMBER = 2;
const SPACE = 3;
const OTHER = 4;

const classes = [
  { kind: LETTER, pattern: /^\p{L}$/u },
  { kind: NUMBER, pattern: /^\p{N}$/u },
  { kind: SPACE, pattern: /^\p{White_Space}$/u },
];

/** Class of every code point below U+3000, where nearly all of text lies: looked up, not matched. */
const COMMON = Uint8Array.from({ length: 0x3000 }, (_, code) => match(code));

function match(code: number): number {
  const char = String.fromCodePoint(code);
  return classes.find((c) => c.pattern.test(char))?.kind ?? OTHER;
}

const kindOf = (code: number): number => COMMON[code] ?? match(code);
const width = (code: number): number => (code > 0xffff ? 2 : 1);

/** First index at or after `from` whose code point is not of this kind. */
function endOfRun(text: string, from: number, kind: number): number {
  let at = from;
  while (at < text.length) {
    const code = text.codePointAt(at) ?? 0;
    if (kindOf(code) !== kind) break;
    at += width(code);
  }
  return at;
}

/** Length of an English contraction ('s 't 'm 'd 're 've 'll) at `at`, or 0. */
function contraction(text: string, at: number): number {
  if (text.charCodeAt(at) !== 0x27) return 0;
  const next = text.charAt(at + 1);
  if (next === 's' || next === 't' || next === 'm' || next === 'd') return 2;
  const two = text.slice(at + 1, at + 3);
  return two === 're' || two === 've' || two === 'll' ? 3 : 0;
}

/**
 * Where the word that starts at `from` ends (UTF-16 index, exclusive).
 *
 * @param from  start of a word, below `text.length`
 */
export function endOfWord(text: string, from: number): number {
  const short = contraction(text, from);
  if (short > 0) return from + short;
  const kind = kindOf(text.codePointAt(from) ?? 0);
  if (kind !== SPACE) return endOfRun(text, from, kind);

  // One ordinary blank belongs to the word after it.
  const next = from + 1 < text.length ? kindOf(text.codePointAt(from + 1) ?? 0) : SPACE;
  if (text.charCodeAt(from) === 0x20 && next !== SPACE) return endOfRun(text, from + 1, next);

  // A run of white space leaves its last character to the next word, unless the text ends or it is only one.
  const end = endOfRun(text, from, SPACE);
  return end === text.length || end === from + 1 ? end : end - 1;
}
