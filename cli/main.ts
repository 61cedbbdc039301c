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
import { COMMANDS } from './commands.ts';
import type { Report } from './commands.ts';
import { parse } from './parse.ts';
import { Terminal } from './terminal.ts';

// @huggingface/hub logs with it, and Node writes that to stdout, which belongs to the result.
console.debug = console.error;

process.exitCode = await main(hideBin(process.argv));

async function main(words: string[]): Promise<number> {
  // Whoever reads our output may stop reading, as `head` does: that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  // Until the line is parsed, the words themselves say how an error is to be told, and of what.
  const flags = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
  let terminal = new Terminal({ json: flags.includes('--json'), quiet: false, verbose: false });
  let name = words.find((word) => COMMANDS.some(({ usage }) => usage.split(' ')[0] === word)) ?? null;
  let code = 0;
  const interrupt = listen(() => terminal);
  try {
    await parse(words, async (chosen, { handler }, args) => {
      name = chosen;
      if (!args.color) process.env['NO_COLOR'] = '1';
      terminal = new Terminal(args);
      const { error, ...report } = await handler(args, { terminal, signal: interrupt.signal });
      if (args.json) writeDocument(terminal, name, report, error);
      else if (error) terminal.error(error.message);
      if (error) code = exitCode(error);
    });
    return code;
  } catch (error) {
    const reason: unknown = interrupt.signal.aborted ? interrupt.signal.reason : error;
    if (terminal.json) writeDocument(terminal, name, undefined, reason);
    terminal.error(describe(reason));
    // A download that cannot be cancelled would keep the process alive.
    if (reason instanceof Interrupted) process.exit(130);
    return exitCode(reason);
  }
}

/** The first Ctrl-C asks to stop; the second stops at once. */
function listen(terminal: () => Terminal): AbortController {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(
      new Interrupted('interrupted: what was finished before is kept, nothing is half-written.'),
    );
    terminal().note('\npalimpsest: stopping; press Ctrl-C again to stop at once.');
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  return controller;
}

function writeDocument(terminal: Terminal, command: string | null, report?: Report, error?: unknown): void {
  const failure = error === undefined ? {} : { error: { code: errorCode(error), message: messageOf(error) } };
  terminal.document({ schema: 1, command, ...report, ...failure });
}

function describe(error: unknown): string {
  if (error instanceof PalimpsestError && error.exitCode !== 1) return error.message;
  const trace = error instanceof Error ? error.stack : String(error);
  return `${trace}\nThis is a bug of palimpsest: please report it with the output of \`palimpsest doctor\`.`;
}

function messageOf(error: unknown): string {
  return printableLines(error instanceof Error ? error.message : String(error));
}

function errorCode(error: unknown): string {
  return error instanceof PalimpsestError ? error.code : 'bug';
}

function exitCode(error: unknown): number {
  return error instanceof PalimpsestError ? error.exitCode : 1;
}
