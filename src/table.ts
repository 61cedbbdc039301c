/**
 * Text in columns: how many a text takes on a terminal, lines of a width, tables that fit it. Tokens are arbitrary Unicode,
 * and tables must still line up.
 */
import { clip, printable } from './printable.ts';

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

function segmentWidth(segment: string): number {
  if (INVISIBLE.test(segment)) return 0;
  return WIDE.test(segment) ? 2 : 1;
}

export interface Column {
  readonly title: string;
  /** Default left. */
  readonly align?: 'left' | 'right';
}

/** Columns of words. */
export function left(...titles: string[]): Column[] {
  return titles.map((title) => ({ title }));
}

/** Columns of numbers. */
export function right(...titles: string[]): Column[] {
  return titles.map((title) => ({ title, align: 'right' }));
}

/** Rows that are listed of many. */
const MOST_ROWS = 12;

/** Of many rows a few, evenly, the last among them. */
export function someRows<T>(rows: readonly T[]): T[] {
  const step = Math.ceil(rows.length / MOST_ROWS);
  return rows.filter((_, i) => (rows.length - 1 - i) % step === 0);
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
