import { ModelError, UsageError } from '../errors.ts';
import { AddedTokens } from './added-tokens.ts';
import { LONG_WORD, firstTokens } from './long-word.ts';
import { type TokenizerParts, readTokenizerFile } from './tokenizer-file.ts';
import { wordsOf } from './words.ts';

/**
 * Ids of a text and the UTF-8 bytes each token covers: token i is bytes [ends[i - 1], ends[i]), and token 0 starts at 0.
 * The bytes are those of the normalised text; BOS covers none.
 */
export interface Spans {
  readonly ids: number[];
  readonly ends: number[];
}

/** Words whose ids are remembered; natural text repeats itself, so nearly all lookups hit. */
const REMEMBERED_WORDS = 65_536;
const LONGEST_REMEMBERED = 64;

const NO_BYTES = new Uint8Array(0);

const utf8 = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * Text to ids and back, as the checkpoint's `tokenizer.json` has it.
 *
 * Normalisation, patterns and merges are those of `@huggingface/tokenizers`. Walking the text and the bytes of every
 * token are ours, because the package gives no offsets and must read a whole document. Before every text stands what
 * the tokenizer's own post-processor puts there. A lone surrogate is read as U+FFFD, as `TextEncoder` does.
 */
export class Tokenizer {
  /** One more than the highest id. */
  readonly vocabularySize: number;
  /** Ids that stand before every text: BOS, or none. */
  readonly before: readonly number[];
  /** What a text from nothing begins with: BOS, else `<|endoftext|>`; empty where there is neither. */
  readonly start: readonly number[];
  /** Ids that end a text. */
  readonly stop: readonly number[];
  /** What is strange about the files, in words. */
  readonly notices: readonly string[];
  readonly #parts: TokenizerParts;
  readonly #idOf = new Map<string, number>();
  readonly #bytesOf: Uint8Array[] = [];
  readonly #special: ReadonlySet<number>;
  readonly #plain: AddedTokens;
  readonly #normalised: AddedTokens;
  readonly #longest: number;
  readonly #words = new Map<string, readonly number[]>();

  /**
   * @param file    parsed `tokenizer.json`
   * @param config  parsed `tokenizer_config.json`, when the checkpoint has one
   * @throws ModelError when it is of another kind, or damaged
   */
  constructor(file: unknown, config: unknown = {}) {
    const parts = (this.#parts = readTokenizerFile(file, config));
    for (const [token, id] of parts.vocabulary) {
      this.#idOf.set(token, id);
      this.#bytesOf[id] = parts.alphabet.bytesOf(token);
    }
    for (const { content, id } of parts.added) {
      this.#idOf.set(content, id);
      this.#bytesOf[id] = utf8.encode(content);
    }
    this.#special = new Set(parts.added.flatMap(({ special, id }) => (special ? [id] : [])));
    this.#plain = new AddedTokens(parts.added.filter(({ normalized }) => !normalized));
    const normalised = parts.added.filter(({ normalized }) => normalized);
    this.#normalised = new AddedTokens(
      normalised.map((token) => ({ ...token, content: parts.normalise(token.content, false) })),
    );
    this.vocabularySize = this.#bytesOf.length;
    this.#longest = this.#bytesOf.reduce((most, bytes) => Math.max(most, bytes.length), 1);

    const fields = config as Readonly<Record<string, unknown>>;
    this.before = parts.before.map((token) => {
      const id = this.#idOf.get(token);
      if (id !== undefined) return id;
      throw new ModelError(
        `tokenizer.json: post_processor: expected tokens of the vocabulary, found ${JSON.stringify(token.slice(0, 40))}. Use the model's own file.`,
        'bad_tokenizer',
      );
    });
    const idsOf = (...names: readonly unknown[]): number[] =>
      names.flatMap((name) => this.#named(name) ?? []);
    const [start] = idsOf(fields.bos_token, '<|endoftext|>', fields.eos_token);
    this.start = this.before.length > 0 || start === undefined ? this.before : [start];
    this.stop = [...new Set(idsOf(fields.eos_token, '<|endoftext|>'))];
    this.notices = noticesOf(fields.add_bos_token, parts.before);
  }

  /** Id of a token that tokenizer_config.json names, as text or as an object. */
  #named(name: unknown): number | undefined {
    const content = typeof name === 'object' && name !== null && 'content' in name ? name.content : name;
    return typeof content === 'string' ? this.#idOf.get(content) : undefined;
  }

  /**
   * Ids of the whole text. `<|endoftext|>` in it becomes that token, as in GPT-2.
   *
   * @param before false for a text that brings its own BOS, as chat templates do
   */
  encode(text: string, { before = true }: { readonly before?: boolean } = {}): number[] {
    return this.#run(text, Infinity, before).ids;
  }

  /**
   * The first `limit` ids of `encode(text)`, without reading on: a 10 MB document costs no more than its first page.
   */
  encodeDocument(text: string, limit: number): number[] {
    return this.#run(text, limit, true).ids;
  }

  /** Ids with the byte span of each. */
  encodeWithSpans(text: string): Spans {
    return this.#run(text, Infinity, true);
  }

  /**
   * A prompt's ids, and the ids that a blank and `target` add to them. Never those of the target alone: after a prompt,
   * other tokens may stand.
   *
   * @throws UsageError when the prompt's ids are no beginning of the whole's
   */
  encodeTarget(prompt: string, target: string): { readonly prompt: number[]; readonly target: number[] } {
    const given = this.encode(prompt);
    const whole = this.encode(`${prompt} ${target}`);
    if (given.every((id, i) => id === whole[i])) return { prompt: given, target: whole.slice(given.length) };
    const at = given.findIndex((id, i) => id !== whole[i]);
    const tokens = (ids: readonly number[]): string =>
      ids
        .slice(at, at + 3)
        .map((id) => JSON.stringify(this.token(id)))
        .join(' ');
    throw new UsageError(
      `target: expected the prompt's tokens to stay as they are when " ${target.slice(0, 40)}" follows, but ${tokens(given)} at its end becomes ${tokens(whole)}. End the prompt with a whole word and no blank.`,
      'no_prefix',
    );
  }

  /** Whether a token marks something, as BOS does, and is no text. */
  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  /** The text of these ids, special tokens left out; bytes that are no UTF-8 (a character cut in two) become U+FFFD. */
  decode(ids: readonly number[]): string {
    const text = this.decodeAfter(ids);
    return this.#parts.blankInFront && text.startsWith(' ') ? text.slice(1) : text;
  }

  /** The text that these ids add to what stands before them: its first blank stays. */
  decodeAfter(ids: readonly number[]): string {
    return this.#text(ids.filter((id) => !this.#special.has(id)));
  }

  /** One token as text, for display: its blank is a blank, part of a character U+FFFD, a row past the vocabulary its number. */
  token(id: number): string {
    return this.#bytesOf[id] === undefined ? `[${id}]` : this.#text([id]);
  }

  #text(ids: readonly number[]): string {
    return decoder.decode(Uint8Array.from(ids.flatMap((id) => [...this.bytes(id)])));
  }

  /** The bytes one token stands for; none for an id that no token has. */
  bytes(id: number): Uint8Array {
    return this.#bytesOf[id] ?? NO_BYTES;
  }

  /** Walks the text: added tokens, normalised sections between them, words of these. */
  #run(text: string, limit: number, before: boolean): Spans {
    const ids = before ? [...this.before] : [];
    const ends = ids.map(() => 0);
    let end = 0;
    const add = (id: number, bytes: number): void => {
      ids.push(id);
      ends.push((end += bytes));
    };
    const sections = (
      added: AddedTokens,
      whole: string,
      plain: (section: string, at: number) => void,
    ): void => {
      for (let at = 0; at < whole.length && ids.length < limit;) {
        const found = added.next(whole, at);
        const stop = found?.start ?? whole.length;
        if (stop > at) plain(whole.slice(at, stop), at);
        if (found && ids.length < limit) {
          const spelled = this.#parts.alphabet.read(whole.slice(found.start, found.end));
          add(found.id, utf8.encode(spelled).length);
        }
        at = found?.end ?? whole.length;
      }
    };
    sections(this.#plain, text, (section, at) =>
      sections(this.#normalised, this.#parts.normalise(section, at === 0), (part) => {
        for (const word of wordsOf(part, this.#parts.cut, limit === Infinity)) {
          if (ids.length >= limit) return;
          for (const id of this.#encodeWord(word, limit - ids.length)) add(id, this.bytes(id).length);
        }
      }),
    );
    if (ids.length > limit) ids.length = ends.length = limit;
    return { ids, ends };
  }

  #encodeWord(word: string, need: number): readonly number[] {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    const { alphabet, merge } = this.#parts;
    const written = alphabet.write(word);
    const cut = written.length > LONG_WORD && Number.isFinite(need);
    const tokens = cut ? firstTokens(written, need, this.#longest, merge) : merge(written);
    const idOf = (token: string): number => this.#idOf.get(token) ?? -1;
    const ids = tokens.flatMap((token) => this.#idOf.get(token) ?? alphabet.apart(token).map(idOf));
    // Whatever the merges did, the tokens must spell the word: the spans rest on it.
    if (ids.includes(-1) || !written.startsWith(tokens.join('')) || (!cut && tokens.join('') !== written)) {
      throw new ModelError(
        `tokenizer.json: expected tokens that spell ${JSON.stringify(word.slice(0, 60))} byte for byte, found ` +
          `${JSON.stringify(tokens.slice(0, 20))}. The vocabulary lacks some of the 256 byte characters: use the model's own file.`,
        'bad_tokenizer',
      );
    }
    if (word.length <= LONGEST_REMEMBERED) {
      if (this.#words.size >= REMEMBERED_WORDS) this.#words.clear();
      this.#words.set(word, ids);
    }
    return ids;
  }
}

function noticesOf(wanted: unknown, before: readonly string[]): string[] {
  if (typeof wanted !== 'boolean' || wanted === before.length > 0) return [];
  const [wish, found] = wanted
    ? ['a BOS token', 'adds none: texts begin without']
    : ['no BOS token', `adds ${before.join(' ')}: texts begin with it`];
  return [
    `tokenizer_config.json wants ${wish} (add_bos_token), but the post-processor of tokenizer.json ${found}`,
  ];
}
