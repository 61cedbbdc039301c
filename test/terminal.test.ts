/** Text in columns: what a token takes, where lines break, how tables fit. */
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Terminal } from '../cli/terminal.ts';
import { percent, short } from '../src/numerals.ts';
import { cut, left, right, table, textWidth, wrap } from '../src/table.ts';
import { sparkline } from '../cli/edit-view.ts';
import { UsageError } from '../src/errors.ts';
import { printable, quoted, printableJson, printableLines } from '../src/printable.ts';

const test = suite('terminal');

test('widths: wide scripts take two columns, marks and controls none', () => {
  assert.is(textWidth('abc'), 3);
  assert.is(textWidth('東京'), 4);
  assert.is(textWidth('한글'), 4);
  assert.is(textWidth('e\u0301'), 1);
  assert.is(textWidth('👍🏽'), 2);
  assert.is(textWidth('a\u200bb'), 2);
  assert.is(textWidth(''), 0);
});

test('cut keeps what fits and says that something is missing', () => {
  assert.is(cut('Philadelphia', 12), 'Philadelphia');
  assert.is(cut('Philadelphia', 7), 'Philad…');
  assert.is(cut('東京都', 5), '東京…');
  assert.is(cut('東京都', 4), '東…'); // half a character does not fit
  assert.is(cut('ab', 1), '…');
});

test('wrap breaks between words, indents what follows, and keeps long words whole', () => {
  assert.equal(wrap('one two three', 7, '  '), ['one two', '  three']);
  assert.equal(wrap('  a wonderfully long', 8), ['  a', 'wonderfully', 'long']);
  assert.equal(wrap('a\nb', 10, '  '), ['a', '  b']);
});

test('a token shows its blanks and its control characters', () => {
  assert.is(quoted(' English'), '" English"');
  assert.is(quoted('\n\u001b[31m'), '"\\n\\u001b[31m"');
});

test('tables fit: no line is wider than the terminal, every block names its rows, no cell is lost', () => {
  const columns = [
    left('name', (row: string[]) => row[0]),
    left('first', (row: string[]) => row[1]),
    right('second', (row: string[]) => row[2]),
    left('third', (row: string[]) => row[3]),
  ];
  const rows = [
    ['one', '東京', '12.5', '" Philadelphia"'],
    ['two', 'b', '3', ''],
    ['three', 'c'],
  ];
  for (let width = 20; width <= 60; width += 1) {
    const lines = table(rows, columns, width);
    for (const line of lines) assert.ok(textWidth(line) <= width, `${width}: ${line}`);
    const blocks = lines.join('\n').split('\n\n');
    for (const block of blocks) for (const name of ['name', 'one', 'two', 'three']) assert.match(block, name);
    // Below that, the widest cell alone does not fit beside the names.
    if (width >= 22) for (const cell of rows.flat()) assert.ok(lines.join('\n').includes(cell), cell);
  }
  assert.equal(table(rows, columns, 60), [
    'name   first  second  third',
    'one    東京     12.5  " Philadelphia"',
    'two    b           3',
    'three  c',
  ]);
});

test('a cell is painted after it was measured', () => {
  const paint = (text: string): string => `<${text}>`;
  assert.equal(table([{ text: 'x', paint }], [left('a', (cell) => cell), left('b', () => 'y')], 40), [
    'a  b',
    '<x>  y',
  ]);
});

test('text from outside is cut, and controls, marks of direction and halves of characters are written out', () => {
  const hostile = '\u001b]0;x\u0007\u009b31m\u202eabc\u2066\ud800\r\n\u{e0041}';
  const plain = '\\u001b]0;x\\u0007\\u009b31m\\u202eabc\\u2066\\ud800\\u000d';
  assert.is(printable(hostile), `${plain}\\u000a\\u{e0041}`);
  assert.is(printableLines(hostile), `${plain}\n\\u{e0041}`);
  assert.is(printable('a\u200d👍🏽 é 東'), 'a\u200d👍🏽 é 東');
  assert.is(printable('x'.repeat(100), 3), 'xxx…');
  assert.is(printable('xx👍👍', 3), 'xx…'); // no half of a character
  const json = printableJson({ [hostile]: hostile }, 1);
  assert.not.match(json, /[\0-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]/);
  assert.equal(JSON.parse(json), { [hostile]: hostile });
  assert.match(new UsageError(`x ${hostile}`).message, plain.slice(0, 20));
  assert.ok(new UsageError('x'.repeat(30_000_000)).message.length < 10_000);
});

test('whatever a command prints, no control gets to either stream', () => {
  const hostile = 'a\u001b]0;x\u0007\u009b31m\u202eb\u2066\r';
  const terminal = new Terminal({ json: false, quiet: false, verbose: true });
  const { stdout, stderr } = process;
  const own = [stdout.write, stderr.write] as const;
  let seen = '';
  stdout.write = stderr.write = (text: unknown) => (seen += String(text)) !== '';
  try {
    terminal.print(hostile);
    terminal.write(hostile);
    terminal.say(hostile);
    terminal.heading(hostile);
    terminal.table([hostile], [left(hostile, (cell) => cell)]);
    terminal.document({ [hostile]: hostile });
    for (const tell of ['note', 'phase', 'warn', 'error'] as const) terminal[tell](hostile);
  } finally {
    [stdout.write, stderr.write] = own;
  }
  assert.ok((seen.match(/\\u001b/g) ?? []).length >= 12);
  assert.not.match(seen, /[\0-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]/);
});

test('a text of megabytes is measured and cut at once', () => {
  const start = performance.now();
  const long = 'é\u0301👍🏽'.repeat(200_000);
  assert.ok(textWidth(long) > 500);
  assert.is(cut(long, 3), 'é\u0301…');
  assert.ok(quoted(long).length < 10_000);
  assert.ok(table([long, 'b\nc'], [left('a', (cell) => cell)], 40).every((line) => textWidth(line) <= 40));
  assert.ok(wrap(long, 80).length >= 1);
  assert.ok(performance.now() - start < 2000);
});

test('numbers: probabilities and norms keep digits that mean something', () => {
  const shown = [1, 0.5, 0.0123, 4.7e-5, 3e-9, 0].map((p) => percent(Math.log(p)));
  assert.equal(shown, ['100.00 %', '50.00 %', '1.23 %', '0.0047 %', '3e-7 %', '0 %']);
  assert.is(percent(NaN), 'NaN');
  assert.equal([0, 3.14159, 31.4159, 314159, 0.00001, -2, Infinity].map(short), [
    '0',
    '3.142',
    '31.42',
    '3.14e+5',
    '1.00e-5',
    '-2.000',
    'Infinity',
  ]);
});

test('a sparkline is as high as its largest value', () => {
  assert.is(sparkline([8, 4, 0]), '█▅▁');
  assert.is(sparkline([]), '');
});

test.run();
