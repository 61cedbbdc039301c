/**
 * Text that came from a file, a model or the network, as it may be shown.
 *
 * Such a text can hold sequences that move a terminal's cursor or set its title, characters that turn the order of a
 * line round, and megabytes. Here it is cut first, and every such character is written out as `\u001b`; what measures
 * and prints comes after. The order matters: cutting into graphemes takes a time that grows with the square of a text.
 */

/** Characters of a text that are shown at most where nothing else is said. */
const MOST = 4000;

/** Of Unicode's lower plane: controls but line break and tab, marks of direction, ends of lines, notes between lines. */
const CONTROLS =
  '\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufff9-\\ufffb';
/** Invisible tags, and halves of characters. */
const MORE = '\\p{Surrogate}\\u{e0000}-\\u{e007f}';
const INLINE = new RegExp(`[${CONTROLS}${MORE}\\n\\t]`, 'gu');
const LINES = new RegExp(`[${CONTROLS}${MORE}]`, 'gu');
const JSON_RAW = new RegExp(`[${CONTROLS}]`, 'g');

/** The beginning of a text; `…` says that there is more. */
export function clip(text: string, most: number = MOST): string {
  if (text.length <= most) return text;
  const last = text.charCodeAt(most - 1);
  const half = last >= 0xd800 && last <= 0xdbff; // the cut would go through a character
  return `${text.slice(0, half ? most - 1 : most)}…`;
}

/** A text on one line: a name, a token, a cell of a table. */
export function printable(text: string, most?: number): string {
  return clip(text, most).replace(INLINE, writtenOut);
}

/** A token or any text as people can read it: in quotes, control characters escaped. */
export function quoted(text: string): string {
  return printable(JSON.stringify(clip(text)));
}

/** A text of several lines: a message, prose, what a model wrote. Its line breaks and tabs stay. */
export function printableLines(text: string, most?: number): string {
  return clip(text, most).replace(LINES, writtenOut);
}

/** JSON with the same meaning in which no control character stands raw: the document may end on a terminal. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(JSON_RAW, (c) => (c === '\n' ? c : writtenOut(c)));
}

function writtenOut(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`;
}
