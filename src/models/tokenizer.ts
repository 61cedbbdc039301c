import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { ModelError } from '../errors.ts';
import { fromAlphabet, toAlphabet } from './byte-alphabet.ts';
import { LONG_WORD, firstTokens } from './long-word.ts';
import { endOfWord } from './split-words.ts';
import { checkTokenizerFile } from './tokenizer-file.ts';

/** Ids of a text and the UTF-8 bytes each token covers: token i is bytes [ends[i - 1], ends[i]), and token 0 starts at 0. */
export interface Spans {
  readonly ids: number[];
  readonly ends: number[];
}

/** Words whose ids are remembered; natural text repeats itself, so nearly all lookups hit. */
const REMEMBERED_WORDS = 65_536;
const LONGEST_REMEMBERED = 64;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * GPT-2's byte-level BPE: text to ids and back.
 *
 * The merges are those of `@huggingface/tokenizers`. Cutting into words and the byte alphabet are ours, because the
 * package gives no offsets, must read a whole document, and cuts at JavaScript's white space instead of Unicode's.
 * No token is added at either end. A lone surrogate is read as U+FFFD, as `TextEncoder` does.
 */
export class Tokenizer {
  readonly vocabularySize: number;
  private readonly merge: (written: string) => readonly string[];
  private readonly idOf = new Map<string, number>();
  private readonly bytesOf: Uint8Array[] = [];
  /** Tokens matched in the text before anything else, longest first: `<|endoftext|>`. */
  private readonly literals: { text: string; id: number }[];
  private readonly longest: number;
  private readonly words = new Map<string, readonly number[]>();

  /**
   * @param file    parsed `tokenizer.json`
   * @param config  parsed `tokenizer_config.json`, when the checkpoint has one
   * @throws ModelError when it is not a byte-level BPE as GPT-2's
   */
  constructor(file: unknown, config: unknown = {}) {
    const checked = checkTokenizerFile(file, config);
    const bpe = new HuggingFaceTokenizer(checked.file, checked.config).model;
    if (bpe === null) throw new ModelError('tokenizer.json: expected a model of type BPE, found none.');
    this.merge = (written) => bpe.encode([written]);
    const utf8 = new TextEncoder();
    for (const [token, id] of checked.vocabulary) {
      const bytes = fromAlphabet(token);
      this.idOf.set(token, id);
      this.bytesOf[id] = bytes ?? utf8.encode(token);
    }
    this.literals = checked.added.map(({ content, id }) => ({ text: content, id }));
    for (const { text, id } of this.literals) this.bytesOf[id] = utf8.encode(text);
    this.literals.sort((a, b) => b.text.length - a.text.length);
    this.vocabularySize = this.bytesOf.length;
    this.longest = this.bytesOf.reduce((most, bytes) => Math.max(most, bytes.length), 1);
  }

  /** Ids of the whole text. `<|endoftext|>` in it becomes that token, as in GPT-2. */
  encode(text: string): number[] {
    return this.encodeDocument(text, Infinity);
  }

  /**
   * The first `limit` ids of `encode(text)`, without reading on: a 10 MB document costs no more than its first page.
   */
  encodeDocument(text: string, limit: number): number[] {
    const ids: number[] = [];
    const next = this.literals.map((literal) => ({ ...literal, at: text.indexOf(literal.text) }));
    let at = 0;
    while (at < text.length && ids.length < limit) {
      const literal = nearest(next, text, at);
      const section = text.slice(at, literal?.at ?? text.length);
      for (let from = 0; from < section.length && ids.length < limit;) {
        const to = endOfWord(section, from);
        for (const id of this.encodeWord(section.slice(from, to), limit - ids.length)) ids.push(id);
        from = to;
      }
      at += section.length;
      if (literal !== undefined) {
        ids.push(literal.id);
        at += literal.text.length;
      }
    }
    if (ids.length > limit) ids.length = limit;
    return ids;
  }

  /** Ids with the byte span of each, over the UTF-8 bytes of the whole text. */
  encodeWithSpans(text: string): Spans {
    const ids = this.encode(text);
    let end = 0;
    const ends = ids.map((id) => (end += this.bytes(id).length));
    return { ids, ends };
  }

  /** The text of these ids; bytes that are no UTF-8 (a character cut in two) become U+FFFD. */
  decode(ids: readonly number[]): string {
    const parts = ids.map((id) => this.bytes(id));
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return decoder.decode(all);
  }

  /** One token as text, for display: its blank is a blank; part of a character is U+FFFD. */
  token(id: number): string {
    return this.decode([id]);
  }

  /** The bytes one token stands for. */
  bytes(id: number): Uint8Array {
    const bytes = this.bytesOf[id];
    if (bytes === undefined) {
      throw new ModelError(`tokenizer: expected an id below ${this.vocabularySize}, found ${id}.`);
    }
    return bytes;
  }

  private encodeWord(word: string, need: number): readonly number[] {
    const known = this.words.get(word);
    if (known !== undefined) return known;
    const written = toAlphabet(word);
    const cut = written.length > LONG_WORD && Number.isFinite(need);
    const tokens = cut ? firstTokens(written, need, this.longest, this.merge) : this.merge(written);
    const ids = tokens.map((token) => this.idOf.get(token) ?? -1);
    // Whatever the merges did, the tokens must spell the word: the spans rest on it.
    if (ids.includes(-1) || !written.startsWith(tokens.join('')) || (!cut && tokens.join('') !== written)) {
      throw new ModelError(
        `tokenizer.json: expected tokens that spell ${JSON.stringify(word.slice(0, 60))} byte for byte, found ` +
          `${JSON.stringify(tokens.slice(0, 20))}. The vocabulary lacks some of the 256 byte characters: use the model's own file.`,
      );
    }
    if (word.length <= LONGEST_REMEMBERED) {
      if (this.words.size >= REMEMBERED_WORDS) this.words.clear();
      this.words.set(word, ids);
    }
    return ids;
  }
}

/** The literal that comes first at or after `from`; each is searched for again only once it is passed. */
function nearest<L extends { text: string; at: number }>(
  next: L[],
  text: string,
  from: number,
): L | undefined {
  let best: L | undefined;
  for (const literal of next) {
    if (literal.at >= 0 && literal.at < from) literal.at = text.indexOf(literal.text, from);
    if (literal.at >= 0 && (best === undefined || literal.at < best.at)) best = literal;
  }
  return best;
}
