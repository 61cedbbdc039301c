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

const utf8 = new TextEncoder();

/** The UTF-8 bytes of `text`, one alphabet character a byte. */
export function toAlphabet(text: string): string {
  let written = '';
  for (const byte of utf8.encode(text)) written += CHAR_OF_BYTE[byte];
  return written;
}

/** The bytes that an alphabet string stands for; undefined when it holds a character that is none of the 256. */
export function fromAlphabet(written: string): Uint8Array | undefined {
  const bytes = new Uint8Array(written.length);
  for (let i = 0; i < written.length; i++) {
    const byte = BYTE_OF_CHAR.get(written.charAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
