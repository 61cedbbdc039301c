/** What a command is: its words and flags for yargs, and what it does with them. */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import type { Terminal } from './terminal.ts';
import { written } from './words.ts';

/** What a run of a command is given. */
export interface Run {
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl-C, its reason an `Interrupted`. */
  readonly signal: AbortSignal;
}

/** What a command has to say under `--json`, around `schema` and `command`. */
export interface Report {
  readonly adapter?: { readonly description: string; readonly kind: string; readonly backend: string };
  readonly model?: { readonly id: string; readonly sha256: string };
  readonly result: unknown;
  readonly timings_ms?: Readonly<Record<string, number>>;
  /** An error that the result explains, e.g. what `doctor` found without an adapter. */
  readonly error?: Error;
}

export interface Command {
  readonly name: string;
  /** Name and positionals as yargs writes them: `predict <text>`. */
  readonly usage: string;
  /** Tells yargs; `chosen` is called when the line names this command. */
  readonly register: (yargs: Argv, chosen: (run: (run: Run) => Promise<Report>) => void) => Argv;
}

interface Spec<T> {
  readonly usage: string;
  readonly summary: string;
  readonly flags: (yargs: Argv) => Argv<T>;
  readonly run: (args: ArgumentsCamelCase<T>, run: Run) => Promise<Report>;
}

export function command<T>({ usage, summary, flags, run }: Spec<T>): Command {
  return {
    name: usage.split(' ')[0] as string,
    usage,
    // The command runs after parsing has ended, so that none of its errors pass through yargs.
    register: (yargs, chosen) =>
      yargs.command(usage, summary, flags, (args) => chosen((context) => run(written(args), context))),
  };
}
