/** From words to a command and its flags. Nothing runs here, so that every error is one of usage. */
import yargs from 'yargs';
import { PalimpsestError, UsageError } from '../src/errors.ts';
import type { Command, Report, Run } from './command.ts';
import { COMMON_FLAGS } from './flags.ts';
import { readVersion } from '../src/io/version.ts';
import { AFTER, ready } from './words.ts';

export interface Chosen {
  readonly name: string;
  readonly common: {
    readonly json: boolean;
    readonly quiet: boolean;
    readonly verbose: boolean;
    readonly color: boolean;
  };
  readonly run: (run: Run) => Promise<Report>;
}

const EPILOGUE =
  'Exit codes: 0 done, 1 a bug, 2 wrong usage or unreadable input, 3 the edit was refused, ' +
  '4 no adapter or device lost, 5 a model, network or cache problem, 130 interrupted.';

/**
 * @returns undefined when the words asked for help or the version, which is printed
 * @throws UsageError
 */
export async function parse(
  words: readonly string[],
  commands: readonly Command[],
): Promise<Chosen | undefined> {
  let chosen: { name: string; run: Chosen['run'] } | undefined;
  const parser = yargs(ready(words))
    .scriptName('palimpsest')
    .usage('$0 <command>\n\nRewrites facts in a language model: ROME, p-ROME and r-ROME.')
    .locale('en')
    .parserConfiguration({ 'parse-numbers': false, 'parse-positional-numbers': false })
    .options(COMMON_FLAGS)
    .option(AFTER, { type: 'boolean', hidden: true })
    .strict()
    .demandCommand(1, 'expected a command.')
    .recommendCommands()
    .wrap(Math.min(100, process.stdout.columns || 100))
    .version(readVersion())
    .epilogue(EPILOGUE)
    .exitProcess(false)
    // A handler that returned would let the command run in spite of the error.
    .fail((message: string | null, error?: Error) => {
      throw error ?? new UsageError(message ?? 'unreadable command line.');
    });
  for (const command of commands)
    command.register(parser, (run) => {
      chosen = { name: command.name, run };
    });
  try {
    const common = await parser.parseAsync();
    return chosen ? { ...chosen, common } : undefined;
  } catch (error) {
    if (error instanceof PalimpsestError && !(error instanceof UsageError)) throw error;
    throw new UsageError(advise(error instanceof Error ? error.message : String(error), words, commands));
  }
}

/** yargs' message as a sentence of ours, and where to read on. */
function advise(message: string, words: readonly string[], commands: readonly Command[]): string {
  const [first = ''] = words;
  const command = commands.find(({ name }) => name === first);
  const help = `See palimpsest ${command ? `${command.name} ` : ''}--help.`;
  if (!command && first !== '' && !first.startsWith('-')) {
    const guess = /^Did you mean (.+)\?$/.exec(message)?.[1];
    const names = guess
      ? `Did you mean ${guess}?`
      : `There are ${commands.map(({ name }) => name).join(', ')}.`;
    return `there is no command "${first}". ${names}\n${help}`;
  }
  const unknown = /^Unknown arguments?: (.+)$/.exec(message)?.[1];
  if (unknown !== undefined) {
    const written = unknown
      .split(', ')
      .map((name) => words.find((word) => isFlag(word, name)) ?? `"${name}"`);
    return `${command?.name ?? 'palimpsest'}: expected ${command?.usage ?? 'a command'} and its flags, found ${written.join(', ')}.\n${help}`;
  }
  if (/^Not enough non-option arguments/.test(message)) {
    const swallowed = words.includes('--edits')
      ? ' All words after --edits are its files: write it before --edits, or after --.'
      : '';
    return `${command?.name}: expected ${command?.usage}, but nothing was given for ${command?.usage.split(' ')[1]}.${swallowed}\n${help}`;
  }
  const missing = /^Not enough arguments following: (.+)$/.exec(message)?.[1];
  if (missing !== undefined) return `--${missing}: expected a value after it, found none.\n${help}`;
  const flat = message.replace(/\s*\n\s*/g, '\n  ');
  return `${flat}${/[.?!]$/.test(flat) ? '' : '.'}\n${help}`;
}

function isFlag(word: string, name: string): boolean {
  return [`-${name}`, `--${name}`, `--no-${name}`].some(
    (flag) => word === flag || word.startsWith(`${flag}=`),
  );
}
