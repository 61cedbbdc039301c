/**
 * How a tokenizer cuts text into words before it merges; no token ever crosses such a cut.
 *
 * The cuts are those of tokenizer.json's `pre_tokenizer`. Its patterns run on a window of the text, not on all of it: a
 * caller who needs 1,024 tokens of a 10 MB document stops early, and a regular expression overflows its stack on ten
 * million letters without a blank.
 */
import * as library from '@huggingface/tokenizers';
import { UsageError } from '../errors.ts';

/** Cuts a text into words that, joined, are the text. */
export type Cut = (text: string) => readonly string[];

/** The words' pattern of GPT-2, as published. */
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** The package exports it, but its declarations do not resolve. */
const { SplitPreTokenizer } = library as unknown as {
  SplitPreTokenizer: new (json: object) => { pre_tokenize_text: Cut };
};

/** @throws SyntaxError for a pattern that cannot be had */
export function cutBy(pattern: string): Cut {
  const splitter = new SplitPreTokenizer({ pattern: { Regex: pattern }, invert: false });
  return (text) => splitter.pre_tokenize_text(text);
}

export const cutAsGpt2 = (): Cut => cutBy(GPT2);

/** Numbers in any script apart from all else, digit by digit or not. */
export const cutDigits = (each: boolean): Cut => cutBy(each ? String.raw`\p{N}` : String.raw`\p{N}+`);

/** A word begins with its blanks, written ▁. */
export const cutAtBlanks = (): Cut => cutBy('▁+[^▁]*');

/** Each cut within the words of the one before it. */
export function inTurn(cuts: readonly Cut[]): Cut {
  return (text) => cuts.reduce<readonly string[]>((words, cut) => words.flatMap((word) => cut(word)), [text]);
}

const WINDOW = 4096;
/** Where a window ends, words this near to its end may go on, or be cut elsewhere. */
const UNSURE = 64;
const LONGEST_WORD = 2 ** 22;

/**
 * The words of a text, one after another.
 *
 * @param all  false: the caller stops early, and of a word of more than 4 million characters the beginning will do
 * @throws UsageError for a longer word when all of it is wanted
 */
export function* wordsOf(text: string, cut: Cut, all: boolean): Generator<string, void, void> {
  let window = WINDOW;
  for (let from = 0; from < text.length;) {
    const head = text.slice(from, from + window);
    const atEnd = from + head.length === text.length;
    const sure = atEnd ? head.length : head.length - UNSURE;
    let end = 0;
    for (const word of cut(head)) {
      if (end + word.length > sure) break;
      yield word;
      end += word.length;
    }
    from += end;
    if (end > 0) window = WINDOW;
    else if (window < LONGEST_WORD) window *= 4;
    else if (!all) {
      yield head;
      return;
    } else
      throw new UsageError(
        `text: expected words of at most ${LONGEST_WORD.toLocaleString('en')} characters, found a longer one at character ${from}. Cut the text.`,
        'too_long',
      );
  }
}
