/**
 * Words as the fluency metric counts them: those of the Penn Treebank, which NLTK's `word_tokenize` follows.
 *
 * Punctuation stands alone, clitics come off ("do n't", "he 's"), a full stop comes off only at the end of a sentence.
 * Two differences from NLTK. Sentences end where Unicode says so (UAX #29), not where the trained Punkt model does, so
 * that "Dr. Smith" counts as an end here: one token more. Quotes stay as they are written, not `` and ''.
 *
 * @see Marcus et al. 1993; Robert MacIntyre's tokenizer.sed; nltk `NLTKWordTokenizer`
 */
export function words(text: string): string[] {
  return [...sentences.segment(text)].flatMap(({ segment }) => sentenceWords(segment));
}

const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/** Always a word of its own: signs, brackets, all kinds of dashes and quotes, and runs of stops, dashes or backticks. */
const ALONE = /\.{2,}|--|''|`+|[;@#$%&?!*"[\](){}<>«»“”‘’„\u2012-\u2015]/gu;
/** A comma or colon is part of a number before a digit: 1,000. */
const SEPARATOR = /([:,])(?!\d)/g;
/** The last full stop, with the quotes and brackets that close after it. */
const FINAL_STOP = /(?<!\.)\.(?=[\])}>"'»”’ ]*$)/;
/** An opening single quote, not the apostrophe of a clitic that stands alone. */
const OPENING = /^'(?!(?:re|ve|ll|m|t|s|d|n)(?![\p{L}\p{N}_]))(?=[\p{L}\p{N}_])/iu;
const CLITIC = /^(.*[^'])('[smd]|'ll|'re|'ve|n't)$/is;
const CLOSING = /^(.*[^'])(')$/s;
/** Two words written as one, and where they part. */
const FUSED: Readonly<Record<string, number>> = {
  cannot: 3,
  "d'ye": 1,
  gimme: 3,
  gonna: 3,
  gotta: 3,
  lemme: 3,
  "more'n": 4,
  wanna: 3,
};

/** The words of one sentence. */
export function sentenceWords(sentence: string): string[] {
  return sentence
    .trim()
    .replace(FINAL_STOP, ' . ')
    .replace(SEPARATOR, ' $1 ')
    .replace(ALONE, ' $& ')
    .split(/\s+/)
    .filter((word) => word !== '')
    .flatMap(splitWord);
}

function splitWord(word: string): string[] {
  const fused = FUSED[word.toLowerCase()];
  if (fused !== undefined) return [word.slice(0, fused), word.slice(fused)];
  if (OPENING.test(word)) return ["'", ...splitWord(word.slice(1))];
  const [, quoted, quote] = CLOSING.exec(word) ?? [];
  if (quoted !== undefined && quote !== undefined) return [...splitWord(quoted), quote];
  const [, stem, clitic] = CLITIC.exec(word) ?? [];
  return stem !== undefined && clitic !== undefined ? [stem, clitic] : [word];
}
