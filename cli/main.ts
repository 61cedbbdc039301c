#!/usr/bin/env node
/**
 * The command line: parses, runs one command, and turns whatever happens into an exit code.
 *
 *   0 done · 1 a bug · 2 wrong usage or unreadable input · 3 the edit was refused · 4 no adapter, or the device was lost
 *   5 a model, network or cache problem · 130 interrupted
 */
import process from 'node:process';
import { hideBin } from 'yargs/helpers';
import { Interrupted, PalimpsestError } from '../src/errors.ts';
import { printableLines } from '../src/printable.ts';
import type { Report } from './commands.ts';
import { parse, type Begin } from './parse.ts';
import { Terminal } from './terminal.ts';

// @huggingface/hub logs with it, and Node writes that to stdout, which belongs to the result.
console.debug = console.error;

/** Signals that come so soon after the first are the same wish: a terminal that closes tells the shell, too. */
const SAME_MS = 200;

process.exitCode = await main(hideBin(process.argv));

async function main(words: string[]): Promise<number> {
  const lost = outlive(process.stdout);
  outlive(process.stderr);
  // Until the line is parsed, the words themselves say how an error is to be told.
  const flags = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
  const json = flags.findLast((word) => /^--(no-)?json(=|$)/.test(word));
  const wanted = json !== undefined && !/^--no-|=false$/.test(json);
  let terminal = new Terminal({ json: wanted, quiet: false, verbose: false });
  let name: string | null = null;
  let code = 0;
  let told: Report['told'];
  const interrupt = listen(() => terminal);
  const begin: Begin = {
    chosen: (chosen) => void (name = chosen),
    run: async ({ handler }, args) => {
      if (!args.color) {
        process.env['NO_COLOR'] = '1';
        delete process.env['FORCE_COLOR']; // which goes before it, for Node
      }
      if (args.quiet) console.debug = () => undefined;
      terminal = new Terminal(args);
      const { error, told: letGo, ...report } = await handler(args, { terminal, signal: interrupt.signal });
      if (args.json) writeDocument(terminal, name, report, error);
      else if (error) terminal.error(error.message);
      if (error) code = exitCode(error);
      told = letGo;
    },
  };
  try {
    await parse(words, begin);
  } catch (error) {
    const reason = interrupt.signal.aborted ? afterSignal(error, interrupt.signal) : error;
    if (terminal.json) writeDocument(terminal, name, undefined, reason);
    terminal.error(describe(reason));
    // What cannot be cancelled would keep the process alive.
    if (interrupt.signal.aborted) process.exit(exitCode(reason));
    code = exitCode(reason);
  }
  const why = await lost();
  if (why === undefined) {
    await told?.();
    return code;
  }
  terminal.error(
    `stdout: expected room for the result, but the system refused it (${why}). Files that the command writes are complete. Send stdout elsewhere.`,
  );
  return code === 0 ? 2 : code;
}

/**
 * Keeps the work going when a stream is gone: files are still to be written.
 *
 * @returns why text was lost; undefined also where nobody reads on, as `head` does: that is no error
 */
function outlive(stream: NodeJS.WriteStream): () => Promise<string | undefined> {
  let why: string | undefined;
  stream.on('error', ({ code = 'unknown error' }: NodeJS.ErrnoException) => {
    if (code !== 'EPIPE' && code !== 'EIO') why ??= code;
  });
  return async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return why;
  };
}

/** The first Ctrl-C asks to stop; the second stops at once. To be ended and to lose the terminal are the same wish. */
function listen(terminal: () => Terminal): AbortController {
  const controller = new AbortController();
  let since = 0;
  const stop = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      if (signal !== 'SIGHUP' && performance.now() - since > SAME_MS) process.exit(130);
      return;
    }
    since = performance.now();
    controller.abort(
      new Interrupted('interrupted: what was finished before is kept, nothing is half-written.'),
    );
    terminal().note('\npalimpsest: stopping; press Ctrl-C again to stop at once.');
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  return controller;
}

/** What a stopped command has to say: what it keeps, or that it could not be kept. */
function afterSignal(error: unknown, { reason }: AbortSignal): unknown {
  const telling =
    error instanceof PalimpsestError && (error instanceof Interrupted || error.code === 'unwritable');
  return telling ? error : reason;
}

function writeDocument(terminal: Terminal, command: string | null, report?: Report, error?: unknown): void {
  const code = error instanceof PalimpsestError ? error.code : 'bug';
  const message = printableLines(error instanceof Error ? error.message : String(error));
  terminal.document({
    schema: 1,
    command,
    ...report,
    ...(error !== undefined && { error: { code, message } }),
  });
}

function describe(error: unknown): string {
  if (error instanceof PalimpsestError && error.exitCode !== 1) return error.message;
  const trace = error instanceof Error ? error.stack : String(error);
  return `${trace}\nThis is a bug of palimpsest: please report it with the output of \`palimpsest doctor\`.`;
}

function exitCode(error: unknown): number {
  return error instanceof PalimpsestError ? error.exitCode : 1;
}
