/**
 * Text as people read it: numbers with digits that mean something, and how many columns a text takes on a terminal.
 * Tokens are arbitrary Unicode, and tables must still line up.
 */
import { clip, printable } from '../src/printable.ts';

const segments = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Scripts and pictures that take two columns (Unicode's East Asian Wide and Fullwidth, emoji). */
const WIDE =
  /^(\p{Emoji_Presentation}|\p{Script=Han}|\p{Script=Hangul}|\p{Script=Hiragana}|\p{Script=Katakana}|[\u3000-\u303e\uff01-\uff60\uffe0-\uffe6])/u;
const INVISIBLE = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u;
const ASCII = /^[\x20-\x7e]*$/;
/** Characters that are measured: more than any terminal is wide. */
const MEASURED = 4000;

export function textWidth(text: string): number {
  const measured = clip(text, MEASURED);
  if (ASCII.test(measured)) return measured.length;
  let columns = 0;
  for (const { segment } of segments.segment(measured)) columns += segmentWidth(segment);
  return columns;
}

/** The text in at most `columns` columns; what is cut off shows as `…`. */
export function cut(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  let kept = '';
  let used = 1; // the …
  for (const { segment } of segments.segment(clip(text, MEASURED))) {
    used += segmentWidth(segment);
    if (used > columns) break;
    kept += segment;
  }
  return columns < 1 ? '' : `${kept}…`;
}

/** Words on lines of at most `columns`; further lines begin with `indent`. A longer word keeps a line of its own. */
export function wrap(text: string, columns: number, indent = ''): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = lines.length === 0 ? '' : indent;
    let empty = true;
    for (const word of paragraph.split(' ')) {
      if (!empty && textWidth(line) + 1 + textWidth(word) > columns) {
        lines.push(line);
        line = indent;
        empty = true;
      }
      line += empty ? word : ` ${word}`;
      empty = false;
    }
    lines.push(line);
  }
  return lines;
}

/** A token or any text as people can read it: in quotes, control characters escaped. */
export function quoted(text: string): string {
  return printable(JSON.stringify(clip(text)));
}

function segmentWidth(segment: string): number {
  if (INVISIBLE.test(segment)) return 0;
  return WIDE.test(segment) ? 2 : 1;
}

/** `1 edit`, `3 edits`. */
export function plural(n: number, what: string): string {
  return `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`;
}

/** Bytes as people read them. */
export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** A probability from its logarithm: `98.21 %`, `0.0047 %`, `3e-7 %`. */
export function percent(logprob: number): string {
  const p = 100 * Math.exp(logprob);
  if (!(p > 0)) return p === 0 ? '0 %' : 'NaN';
  if (p >= 0.01) return `${p.toFixed(2)} %`;
  return `${p >= 1e-4 ? p.toPrecision(2) : p.toExponential(0)} %`;
}

/** Four digits that mean something. */
export function short(x: number): string {
  if (!Number.isFinite(x)) return String(x);
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(2);
  return x.toFixed(Math.max(0, 3 - Math.max(0, Math.floor(Math.log10(size)))));
}

/** Milliseconds, or any number, with three digits. */
export function ms(x: number): string {
  if (!Number.isFinite(x)) return '';
  return x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 1 ? x.toFixed(2) : x.toFixed(3);
}

/** In units of 10⁹. */
export function giga(x: number): string {
  const g = x / 1e9;
  if (!Number.isFinite(g)) return '';
  return g >= 100 ? g.toFixed(0) : g >= 0.095 ? g.toFixed(1) : g.toFixed(2);
}

export function percentOf(part: number, whole: number): string {
  return Number.isFinite(part / whole) ? String(Math.round((100 * part) / whole)) : '';
}
