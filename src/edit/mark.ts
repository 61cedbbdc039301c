/** A stretch of a string, UTF-16 indices, `end` exclusive. */
export interface Place {
  readonly start: number;
  readonly end: number;
}

/** Characters of a string that an error message shows at most. */
const SHOWN = 120;

/** A string in quotes for an error message: control characters escaped, a long one cut. */
export function show(text: string): string {
  const cut = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
  return JSON.stringify(cut);
}

/**
 * The string on one line and carets under the offending places on the next:
 *
 *       The {} of {} is
 *           ^^    ^^
 *
 * Line breaks and tabs are shown as one character each, so that the carets stay below what they mean.
 */
export function mark(text: string, places: readonly Place[]): string {
  const from = text.length > SHOWN ? Math.max(0, (places[0]?.start ?? 0) - SHOWN / 2) : 0;
  const window = text.slice(from, from + SHOWN);
  const line = window.replace(/[\n\r]/g, '↵').replace(/\p{Cc}/gu, ' ');
  let carets = '';
  for (let i = 0; i < window.length; i++) {
    if (isSecondHalf(window, i)) continue;
    carets += places.some(({ start, end }) => from + i >= start && from + i < end) ? '^' : ' ';
  }
  return `  ${line}\n  ${carets.trimEnd()}`;
}

/** The second half of a surrogate pair takes no column of its own. */
function isSecondHalf(text: string, at: number): boolean {
  const before = text.charCodeAt(at - 1);
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff && before >= 0xd800 && before <= 0xdbff;
}
