/**
 * What the command line writes. stdout is the result and nothing else; stderr is everything around it.
 *
 * Owns colour (off where the stream is no terminal, or NO_COLOR is set), the width, and progress. Nothing reaches a stream
 * but through `clean`: of what a file, a model or the network put into a text, no control character gets to the terminal.
 */
import { randomUUID } from 'node:crypto';
import process from 'node:process';
import { styleText } from 'node:util';
import type { SingleBar } from 'cli-progress';
import { printable, printableJson, printableLines } from '../src/printable.ts';
import { table, wrap, type Column } from '../src/table.ts';

type Style = Exclude<Parameters<typeof styleText>[0], readonly unknown[]>;

const ESCAPE = '\u001b';
/** Stands for the escape of our own colours until a line is written. No text from outside can hold it. */
const OURS = `\u0001${randomUUID()}`;
/** Characters of one remark, and of one line of the result: a text of a model may be long. */
const MOST_PROSE = 20_000;
const MOST_LINE = 1_000_000;

/** One style after another: given several at once, Node 20 colours what is no terminal. */
function painted(styles: Style | readonly Style[], text: string, stream: NodeJS.WriteStream): string {
  return [styles]
    .flat()
    .reduce((done: string, style) => styleText(style, done, { stream }), clean(text))
    .replaceAll(ESCAPE, OURS);
}

/** A text without controls from outside; the marks of our own colours stay. */
function clean(text: string, most = MOST_LINE): string {
  if (!text.includes(OURS)) return printableLines(text, most);
  return text
    .split(OURS)
    .map((part) => printableLines(part, most))
    .join(OURS);
}

/** The one door to both streams. */
function write(stream: NodeJS.WriteStream, text: string): void {
  stream.write(clean(text).replaceAll(OURS, ESCAPE));
}

/** Work that takes long says so: on a terminal after this, elsewhere one line every LINE_MS. */
const BAR_AFTER_MS = 700;
const LINE_MS = 10_000;

export interface Progress {
  readonly update: (done: number, total: number) => void;
  readonly stop: () => void;
}

export class Terminal {
  /** One JSON document goes to stdout: nothing for people does. */
  readonly json: boolean;
  /** Says on stderr when each phase begins. */
  readonly verbose: boolean;
  /** Nothing on stderr but errors. */
  readonly #quiet: boolean;

  constructor({ json, quiet, verbose }: Readonly<Record<'json' | 'quiet' | 'verbose', boolean>>) {
    [this.json, this.#quiet, this.verbose] = [json, quiet, verbose];
  }

  /** Columns of stdout now; a pipe has as many as COLUMNS says, else 120. */
  get columns(): number {
    const { columns } = process.stdout;
    if (columns) return Math.max(20, columns);
    const said = Number(process.env['COLUMNS']);
    return said >= 20 ? said : 120;
  }

  /** Someone watches stdout. */
  get live(): boolean {
    return !this.json && process.stdout.isTTY;
  }

  paint(styles: Style | readonly Style[], text: string): string {
    return painted(styles, text, process.stdout);
  }

  /** A line of the result, for people. */
  print(...lines: string[]): void {
    if (this.json) return;
    for (const line of lines.length > 0 ? lines : ['']) write(process.stdout, `${line}\n`);
  }

  write(text: string): void {
    write(process.stdout, text);
  }

  /** Prose of the result, wrapped. */
  say(text: string, indent = '', style?: Style): void {
    for (const line of wrap(clean(text, MOST_PROSE), this.columns, indent))
      this.print(style ? this.paint(style, line) : line);
  }

  table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    this.print(...table(rows, columns, this.columns, (text) => this.paint('dim', text)));
  }

  heading(text: string): void {
    this.print('', ...wrap(clean(text, MOST_PROSE), this.columns).map((line) => this.paint('bold', line)));
  }

  document(value: unknown): void {
    process.stdout.write(`${printableJson(value)}\n`);
  }

  /** A remark on stderr. */
  note(text: string): void {
    if (!this.#quiet) write(process.stderr, `${fitted(text)}\n`);
  }

  phase(name: string): void {
    if (this.verbose) this.note(`palimpsest: ${name} ...`);
  }

  warn(text: string): void {
    if (!this.#quiet) labelled('warning:', 'yellow', text);
  }

  error(text: string): void {
    labelled('error:', 'red', text);
  }

  /** Work under a bar, which ends with it. */
  async watch<T>(
    what: string,
    work: (update: Progress['update']) => Promise<T>,
    unit?: (n: number) => string,
  ): Promise<T> {
    const bar = this.progress(what, unit);
    return work(bar.update).finally(bar.stop);
  }

  /**
   * A bar on a terminal, a line now and then elsewhere; nothing for work that ends soon.
   *
   * @param note stands behind the numbers
   */
  progress(what: string, unit: (n: number) => string = String, note = (): string => ''): Progress {
    if (this.#quiet) return { update: () => undefined, stop: () => undefined };
    const state = (done: number, total: number): string => `${unit(done)} of ${unit(total)}${note()}`;
    if (process.stderr.isTTY) return barOf(what, state);
    let said = performance.now();
    return {
      update: (done, total) => {
        if (performance.now() - said < LINE_MS) return;
        said = performance.now();
        this.note(`${what}: ${state(done, total)}`);
      },
      stop: () => undefined,
    };
  }
}

/** One bar a step. */
export function stepsOn(terminal: Terminal) {
  let [current, said] = ['', ''];
  let bar: Progress | undefined;
  const end = (): void => bar?.stop();
  const at = (step: string, done: number, total: number, note = ''): void => {
    said = note;
    if (step !== current) {
      end();
      current = step;
      bar = terminal.progress(step, String, () => said);
    }
    bar?.update(done, total);
  };
  return { at, end };
}

/** The library is loaded for work that takes long enough to be watched. */
function barOf(what: string, stateOf: (done: number, total: number) => string): Progress {
  const start = performance.now();
  let bar: SingleBar | undefined;
  let [isBegun, isOver] = [false, false];
  const show = async (done: number, total: number): Promise<void> => {
    isBegun = true;
    const { SingleBar } = await import('cli-progress');
    if (isOver) return;
    const format = `${printable(what, 60).replace(/[{}]/g, '')} {bar} {percentage} % {shown}`;
    const form = { format, barsize: 24, hideCursor: true, clearOnComplete: true, gracefulExit: false };
    bar = new SingleBar(form);
    bar.start(total, done, { shown: '' });
  };
  return {
    update: (done, total) => {
      if (!isBegun && performance.now() - start >= BAR_AFTER_MS) void show(done, total);
      bar?.update(done, { shown: stateOf(done, total) });
    },
    stop: () => {
      isOver = true;
      bar?.stop();
    },
  };
}

/** Prose for stderr, wrapped where it is a terminal. Lines that begin with blanks show a place and stay as they are. */
function fitted(text: string): string {
  const { isTTY, columns } = process.stderr;
  const shown = clean(text, MOST_PROSE);
  if (!isTTY || !columns) return shown;
  const lines = shown.split('\n');
  return lines.flatMap((line) => (line.startsWith('  ') ? [line] : wrap(line, columns, '  '))).join('\n');
}

/** The label is coloured after the lines were broken, which counts columns. */
function labelled(label: string, style: Style, text: string): void {
  const lines = fitted(`${label} ${text}`).slice(label.length);
  write(process.stderr, `${painted([style, 'bold'], label, process.stderr)}${lines}\n`);
}
