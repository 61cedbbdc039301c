/** Tables that fit the terminal, bars, and a text token by token. */
import { printable } from '../src/printable.ts';
import type { Terminal } from './terminal.ts';
import { cut, quoted, textWidth } from './text.ts';

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
