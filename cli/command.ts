/** What a command is: its flags for yargs, and what it does with them. */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import type { Terminal } from './terminal.ts';

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
  readonly error?: Error | undefined;
}

/** A command as the parser takes it. */
export interface Command {
  readonly builder: (yargs: Argv) => Argv;
  readonly handler: (args: ArgumentsCamelCase, run: Run) => Promise<Report>;
}

interface Spec<T> {
  /** Positionals, flags and examples. The examples of all commands run one after another in an empty folder. */
  readonly flags: (yargs: Argv) => Argv<T>;
  readonly run: (args: ArgumentsCamelCase<T>, run: Run) => Promise<Report>;
}

/** A command whose `run` is typed by its flags. */
export function command<T>({ flags, run }: Spec<T>): Command {
  return {
    builder: (yargs) => flags(yargs) as Argv,
    handler: (args, context) => run(args as ArgumentsCamelCase<T>, context),
  };
}
