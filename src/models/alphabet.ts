/** How the tokens of a vocabulary, which are strings, stand for bytes. */
export interface Alphabet {
  /** A word as it is merged. */
  readonly write: (word: string) => string;
  /** The bytes that a token stands for. */
  readonly bytesOf: (token: string) => Uint8Array;
  /** Normalised text as it is read: what its bytes are counted of. */
  readonly read: (normalised: string) => string;
  /** What stands for a token that the vocabulary lacks: its bytes, or itself where there are no tokens for single bytes. */
  readonly apart: (token: string) => string[];
}

const utf8 = new TextEncoder();

/**
 * GPT-2 writes every byte as one visible character, so that a vocabulary of strings can hold any bytes.
 *
 * The bytes that print in Latin-1 (`!`..`~`, `¡`..`¬`, `®`..`ÿ`) stand for themselves; the other 68, in rising
 * order, become U+0100, U+0101, ...: a space is `Ġ`, a newline `Ċ`.
 *
 * @see Radford et al. 2019, `bytes_to_unicode` of openai/gpt-2
 */
const CHAR_OF_BYTE: readonly string[] = buildAlphabet();

const BYTE_OF_CHAR: ReadonlyMap<string, number> = new Map(CHAR_OF_BYTE.map((char, byte) => [char, byte]));

function buildAlphabet(): string[] {
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
}

/** Of byte-level BPE. A token with a character that is none of the 256 stands for its own letters. */
export const VISIBLE_BYTES: Alphabet = {
  write: (word) => {
    let written = '';
    for (const byte of utf8.encode(word)) written += CHAR_OF_BYTE[byte];
    return written;
  },
  bytesOf: (token) => {
    const bytes = new Uint8Array(token.length);
    for (let i = 0; i < token.length; i += 1) {
      const byte = BYTE_OF_CHAR.get(token.charAt(i));
      if (byte === undefined) return utf8.encode(token);
      bytes[i] = byte;
    }
    return bytes;
  },
  read: (normalised) => normalised,
  apart: (token) => [token],
};

/** How SentencePiece writes a byte: <0x0A>. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
}

/** SentencePiece's: letters as they are, a blank as ▁. */
export const LETTERS: Alphabet = {
  write: (word) => word,
  bytesOf: (token) => {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
    return byte === undefined ? utf8.encode(LETTERS.read(token)) : Uint8Array.of(parseInt(byte, 16));
  },
  read: (normalised) => normalised.replaceAll('▁', ' '),
  apart: (token) => Array.from(utf8.encode(token), byteToken),
};
