/** Texts of a model as people read them: quoted, token by token; and numbers as a row of bars. */
import { clip, printable } from '../src/printable.ts';
import { textWidth } from '../src/table.ts';
import type { Terminal } from './terminal.ts';

/** A token or any text as people can read it: in quotes, control characters escaped. */
export function quoted(text: string): string {
  return printable(JSON.stringify(clip(text)));
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
