/** Tokens that are found in a text before it is cut into words, whole and by their letters: `<|endoftext|>`, `<s>`. */
export interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Left out of decoded text. */
  readonly special: boolean;
  /** Looked for in the normalised text. */
  readonly normalized: boolean;
  /** Takes the white space before it, after it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** Where one stands, UTF-16 indices, `end` exclusive; `lstrip` and `rstrip` included. */
export interface Found {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

/** Finds the leftmost added token, and the longest where several begin at one place. */
export class AddedTokens {
  /** By first character, longest first. */
  readonly #byFirst = new Map<string, AddedToken[]>();
  readonly #first: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    for (const token of tokens) {
      const first = token.content.charAt(0);
      this.#byFirst.set(first, [...(this.#byFirst.get(first) ?? []), token]);
    }
    for (const list of this.#byFirst.values()) list.sort((a, b) => b.content.length - a.content.length);
    const firsts = [...this.#byFirst.keys()].map(
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    if (firsts.length > 0) this.#first = new RegExp(`[${firsts.join('')}]`, 'g');
  }

  /** The next at or after `from`. */
  next(text: string, from: number): Found | undefined {
    const first = this.#first;
    if (!first) return undefined;
    first.lastIndex = from;
    for (let match = first.exec(text); match; match = first.exec(text)) {
      const at = match.index;
      const token = this.#byFirst.get(match[0])?.find(({ content }) => text.startsWith(content, at));
      if (token) return place(text, token, at, from);
    }
    return undefined;
  }
}

const BLANK = /^\p{White_Space}$/u;

function place(text: string, { id, content, lstrip, rstrip }: AddedToken, at: number, from: number): Found {
  let start = at;
  let end = at + content.length;
  while (lstrip && start > from && BLANK.test(text.charAt(start - 1))) start -= 1;
  while (rstrip && end < text.length && BLANK.test(text.charAt(end))) end += 1;
  return { id, start, end };
}
