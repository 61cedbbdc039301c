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

/** What stands in a table, and how `paint` is to show it once it has its width; nothing where it is undefined. */
export type Cell =
  string | number | undefined | { readonly text: string; readonly paint: (text: string) => string };

/** A column: its title, and what it shows of a row. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row, place: number) => Cell;
  /** Numbers stand to the right. */
  readonly isRight?: boolean;
}

export function left<Row>(title: string, cell: Column<Row>['cell']): Column<Row> {
  return { title, cell };
}

export function right<Row>(title: string, cell: Column<Row>['cell']): Column<Row> {
  return { title, cell, isRight: true };
}

/** Rows that are listed of many. */
const MOST_ROWS = 12;

/** Of many rows a few, evenly, the last among them. */
export function someRows<T>(rows: readonly T[]): T[] {
  const step = Math.ceil(rows.length / MOST_ROWS);
  return rows.filter((_, i) => (rows.length - 1 - i) % step === 0);
}

const GAP = '  ';
const LEAST_COLUMN = 4;

/**
 * Lines of a table at most `columns` wide. Where that is too narrow, columns go into blocks, one below the other; the first
 * column names the rows, and every block repeats it.
 */
export function table<Row>(
  list: readonly Row[],
  columns: readonly Column<Row>[],
  width: number,
  paintHead: (text: string) => string = (text) => text,
): string[] {
  const rows = list.map((row, i) => columns.map(({ cell }) => cell(row, i)));
  const natural = columns.map(({ title }, c) =>
    rows.reduce((most, row) => Math.max(most, textWidth(textOf(row[c]))), textWidth(title)),
  );
  const first = Math.min(natural[0] ?? 0, width);
  // Beside the names, a block has room for one column at least: a wider cell is cut.
  const room = Math.max(LEAST_COLUMN, width - first - GAP.length);
  const widths = natural.map((own, c) => (c === 0 ? first : Math.min(own, room)));
  const lines: string[] = [];
  for (const block of blocks(widths, width)) {
    if (lines.length > 0) lines.push('');
    const put = (cellOf: (c: number) => Cell): string =>
      block
        .map((c, place) => pad(cellOf(c), widths[c] ?? 0, columns[c]?.isRight, place === block.length - 1))
        .join(GAP)
        .trimEnd();
    const titles = put((c) => columns[c]?.title);
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

function pad(cell: Cell, width: number, isRight = false, last = false): string {
  const text = cut(textOf(cell), width);
  const paint = typeof cell === 'object' ? cell.paint : (plain: string): string => plain;
  const blanks = ' '.repeat(Math.max(0, width - textWidth(text)));
  if (isRight) return blanks + paint(text);
  return paint(text) + (last ? '' : blanks);
}

function textOf(cell: Cell): string {
  return printable(typeof cell === 'object' ? cell.text : String(cell ?? ''));
}
