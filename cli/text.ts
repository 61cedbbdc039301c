/**
 * Text as people read it: numbers with digits that mean something, how many columns a text takes on a terminal, tables
 * that fit it, bars, and a text token by token. Tokens are arbitrary Unicode, and tables must still line up.
 */
import { clip, printable } from '../src/printable.ts';
import type { Terminal } from './terminal.ts';

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

/** A time as people say it. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export interface Column {
  readonly title: string;
  /** Default left. */
  readonly align?: 'left' | 'right';
}

/** A cell, and how `paint` is to show it once it has its width. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

const GAP = '  ';
const LEAST_COLUMN = 4;

/**
 * Lines of a table at most `columns` wide. Where that is too narrow, columns go into blocks, one below the other; the first
 * column names the rows, and every block repeats it.
 *
 * @param rows one cell a column; missing ones stay empty
 */
export function table(
  heads: readonly Column[],
  rows: readonly (readonly Cell[])[],
  columns: number,
  paintHead: (text: string) => string = (text) => text,
): string[] {
  const natural = heads.map((head, c) =>
    rows.reduce((most, row) => Math.max(most, textWidth(textOf(row[c]))), textWidth(head.title)),
  );
  const first = Math.min(natural[0] ?? 0, columns);
  // Beside the names, a block has room for one column at least: a wider cell is cut.
  const room = Math.max(LEAST_COLUMN, columns - first - GAP.length);
  const widths = natural.map((width, c) => (c === 0 ? first : Math.min(width, room)));
  const lines: string[] = [];
  for (const block of blocks(widths, columns)) {
    if (lines.length > 0) lines.push('');
    const put = (cellOf: (c: number) => Cell | undefined): string =>
      block
        .map((c, place) => pad(cellOf(c), widths[c] ?? 0, heads[c]?.align, place === block.length - 1))
        .join(GAP)
        .trimEnd();
    const titles = put((c) => heads[c]?.title);
    if (titles !== '') lines.push(paintHead(titles));
    for (const row of rows) lines.push(put((c) => row[c]));
  }
  return lines;
}

/** Indices of the columns of each block. */
function blocks(widths: readonly number[], columns: number): number[][] {
  const first = widths[0] ?? 0;
  const found: number[][] = [];
  let block = [0];
  let used = first;
  for (let c = 1; c < widths.length; c += 1) {
    const width = GAP.length + (widths[c] ?? 0);
    if (used + width > columns && block.length > 1) {
      found.push(block);
      block = [0];
      used = first;
    }
    block.push(c);
    used += width;
  }
  return [...found, block];
}

function pad(cell: Cell | undefined, width: number, align: 'left' | 'right' = 'left', last = false): string {
  const text = cut(textOf(cell), width);
  const paint = typeof cell === 'object' ? cell.paint : (plain: string): string => plain;
  const blanks = ' '.repeat(Math.max(0, width - textWidth(text)));
  if (align === 'right') return blanks + paint(text);
  return paint(text) + (last ? '' : blanks);
}

function textOf(cell: Cell | undefined): string {
  return printable(typeof cell === 'object' ? cell.text : (cell ?? ''));
}

const BARS = '▁▂▃▄▅▆▇█';

/** Numbers as a row of bars, the largest as high as a line. */
export function sparkline(values: readonly number[]): string {
  const most = Math.max(...values, Number.MIN_VALUE);
  return values
    .map(
      (value) =>
        BARS[Math.min(BARS.length - 1, Math.max(0, Math.floor((value / most) * BARS.length)))] ?? '?',
    )
    .join('');
}

/** Stands between tokens; as good as never part of one. */
const BAR = '│';
const INDENT = '  ';

/** A token as it stands in the strip: its blank stays a blank, line breaks and other controls are escaped. */
function shown(token: string): string {
  return quoted(token).slice(1, -1).replaceAll('\\"', '"').replaceAll('\\\\', '\\');
}

/**
 * Lines of the strip, broken between tokens; below the line that holds token `marked`, carets and `remark`.
 *
 *   The│ mother│ tongue│ of│ Danielle│ Dar│rie│ux│ is
 *                                              ^^ the subject's last token
 */
export function printStrip(
  terminal: Terminal,
  tokens: readonly string[],
  marked?: number,
  remark = '',
): void {
  let line = '';
  let used = INDENT.length; // columns of the line, colours not counted
  let carets = '';
  const end = (): void => {
    terminal.print(INDENT + line);
    if (carets !== '') printCarets(terminal, carets, remark);
    [line, used, carets] = ['', INDENT.length, ''];
  };
  tokens.forEach((token, i) => {
    const text = shown(token);
    const width = textWidth(text);
    if (line !== '' && used + 1 + width > terminal.columns) end();
    if (line !== '') {
      line += terminal.paint('dim', BAR);
      used += 1;
    }
    // A token's blank is no part of the word that the carets stand under.
    const blanks = text.length - text.trimStart().length;
    if (i === marked) carets = ' '.repeat(used + blanks) + '^'.repeat(Math.max(1, width - blanks));
    line += i === marked ? terminal.paint(['bold', 'cyan'], text) : text;
    used += width;
  });
  if (line !== '') end();
}

function printCarets(terminal: Terminal, carets: string, remark: string): void {
  if (carets.length + 1 + textWidth(remark) <= terminal.columns) {
    terminal.print(terminal.paint('cyan', `${carets} ${remark}`));
    return;
  }
  terminal.print(terminal.paint('cyan', carets));
  terminal.say(INDENT + remark, INDENT, 'cyan');
}
