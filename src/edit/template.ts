import { UsageError } from '../errors.ts';

/**
 * Text with one hole, written `{}`: a prompt waits for its subject, a context for its prompt.
 *
 * It is kept as the two sides of the hole, never searched again after it was read: any other brace, `$&` or `{}` that
 * comes in with a subject or a context is ordinary text. (Python's `format` substitutes or raises there.)
 */
export interface Template {
  readonly before: string;
  readonly after: string;
}

const HOLE = '{}';

/** Where `{}` stands in the text, left to right. */
export function holes(text: string): number[] {
  const found: number[] = [];
  for (let at = text.indexOf(HOLE); at >= 0; at = text.indexOf(HOLE, at + HOLE.length)) found.push(at);
  return found;
}

/**
 * Reads a template.
 *
 * @param where  what the message calls it: `prompt`, `contexts.json: context 3`
 * @throws UsageError unless there is exactly one `{}`; `advice` ends the message
 */
export function readTemplate(text: string, where: string, advice: string): Template {
  const found = holes(text);
  const [at] = found;
  if (at === undefined) {
    throw new UsageError(`${where}: expected one {}, found none in ${show(text)}. ${advice}`);
  }
  if (found.length > 1) {
    const places = found.map((start) => ({ start, end: start + HOLE.length }));
    throw new UsageError(
      `${where}: expected one {}, found ${found.length}. ${advice}\n${mark(text, places)}`,
    );
  }
  return { before: text.slice(0, at), after: text.slice(at + HOLE.length) };
}

/** The text with `word` in the hole. */
export function fill(template: Template, word: string): string {
  return template.before + word + template.after;
}

/** A fact on one line: its sentence with the subject in brackets, and the target. */
export function factLine(
  { prompt, subject }: { readonly prompt: string; readonly subject: string },
  target: string,
): string {
  return `${sentence({ prompt, subject: `[${subject}]` })} → ${target}`;
}

/**
 * A prompt with its subject in it. Whoever shows a subject marked hands it in marked.
 *
 * @throws UsageError unless the prompt has exactly one `{}`
 */
export function sentence({ prompt, subject }: { readonly prompt: string; readonly subject: string }): string {
  return fill(readTemplate(prompt, 'prompt', 'Write {} where the subject goes, once.'), subject);
}

/** A template in the hole of another: context around prompt. The hole of the inner one stays. */
export function nest(outer: Template, inner: Template): Template {
  return { before: outer.before + inner.before, after: inner.after + outer.after };
}

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
