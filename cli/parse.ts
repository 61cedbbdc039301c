/** From words to a command: yargs, with messages in our form. */
import yargs from 'yargs';
import type { ArgumentsCamelCase, Argv } from 'yargs';
import { UsageError } from '../src/errors.ts';
import { versions } from '../src/io/file.ts';
import { COMMANDS, type Command, type Commands } from './commands.ts';

const COMMON_FLAGS = {
  json: { type: 'boolean', default: false, describe: 'one JSON document on stdout, nothing else' },
  quiet: { type: 'boolean', default: false, describe: 'nothing on stderr but errors' },
  verbose: { type: 'boolean', default: false, describe: 'say on stderr when each phase begins' },
  color: { type: 'boolean', default: true, describe: 'colours on a terminal; --no-color for none' },
} as const;

export type CommonArguments = { readonly [Name in keyof typeof COMMON_FLAGS]: boolean };

export interface Begin {
  /** Which command it is of, before its flags are read. */
  readonly chosen: (name: string) => void;
  readonly run: (command: Command, args: ArgumentsCamelCase & CommonArguments) => Promise<void>;
}

const EPILOGUE =
  'Exit codes: 0 done, 1 a bug, 2 wrong usage or unreadable input, 3 the edit was refused or missed, ' +
  '4 no adapter or device lost, 5 a model, network or cache problem, 130 interrupted.';

/** Stands for `--`: the files of a flag end before it. */
const AFTER = 'words-follow';
/** Stands for a dash, which would begin a flag. Of Unicode's private use area: in no text that means anything. */
const HIDDEN_DASH = '\uf8fe';

/**
 * Runs the command that the words name; help and version are printed.
 *
 * @throws UsageError, and whatever the command throws
 */
export async function parse(words: readonly string[], begin: Begin): Promise<void> {
  const known = new Set<string>(Object.keys(COMMON_FLAGS));
  const noted = (flags: ReadonlySet<string>): void => flags.forEach((flag) => known.add(flag));
  const parser = yargs(ready(words))
    .scriptName('palimpsest')
    .usage('$0 <command>\n\nRewrites facts in a language model: ROME, p-ROME and r-ROME.')
    .locale('en')
    .parserConfiguration({ 'parse-numbers': false, 'parse-positional-numbers': false })
    .options(COMMON_FLAGS)
    .group([...Object.keys(COMMON_FLAGS), 'help', 'version'], 'Flags of every command:')
    .option(AFTER, { type: 'boolean', hidden: true })
    .strict()
    .demandCommand(1, 'expected a command.')
    .recommendCommands()
    .wrap(Math.min(100, process.stdout.columns || 100))
    .version(versions().palimpsest)
    .epilogue(EPILOGUE)
    .exitProcess(false)
    // To return would let the command run in spite of the error.
    .fail((message: string, error?: Error) => {
      throw error ?? new UsageError(advise(message, words, known));
    });
  try {
    await register(parser, COMMANDS, { ...begin, words, noted }).parseAsync();
  } catch (error) {
    if (error instanceof Error && error.name === 'YError')
      throw new UsageError(advise(String(written(error.message)), words, known));
    if (error instanceof Error) error.message = String(written(error.message));
    throw error;
  }
}

interface Line extends Begin {
  readonly words: readonly string[];
  /** Which flags its command has. */
  readonly noted: (flags: ReadonlySet<string>) => void;
}

function register(parser: Argv, commands: Commands, line: Line, outer = ''): Argv {
  for (const [usage, [summary, what]] of Object.entries(commands)) {
    const name = outer + nameOf(usage);
    if (typeof what === 'object') {
      const expected = `${name}: expected ${namesOf(what)}.`;
      parser.command(usage, summary, (inner) =>
        register(inner, what, line, `${name} `).demandCommand(1, expected),
      );
      continue;
    }
    const builder = async (inner: Argv): Promise<Argv> => {
      line.chosen(name);
      const { builder: build, flags } = await what();
      line.noted(flags);
      return build(inner);
    };
    parser.command(usage, summary, builder, async (args) => {
      checkSwitches(line.words, args);
      return line.run(await what(), written(args) as ArgumentsCamelCase & CommonArguments);
    });
  }
  return parser;
}

/** @throws UsageError for a flag that is on or off and was given another value, which yargs takes for off */
function checkSwitches(words: readonly string[], args: ArgumentsCamelCase): void {
  const end = words.indexOf('--');
  for (const word of end < 0 ? words : words.slice(0, end)) {
    const [, name = '', value = ''] = /^--([^=]+)=(.*)$/s.exec(word) ?? [];
    if (typeof args[name] !== 'boolean' || value === 'true' || value === 'false') continue;
    throw new UsageError(`--${name}: expected no value, true or false, found "${value}".`);
  }
}

function nameOf(usage: string): string {
  return usage.split(' ')[0] ?? usage;
}

function namesOf(commands: Commands): string {
  return Object.keys(commands).map(nameOf).join(', ');
}

/**
 * The words for yargs, which would misread two of them: a lone `-`, which is stdin, and what follows `--`, plain words that
 * it counts too late to be positionals. Both hide their dash.
 */
function ready(words: readonly string[]): string[] {
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  const flags = words.slice(0, end).map((word) => (word === '-' ? HIDDEN_DASH : word));
  const plain = words.slice(end + 1).map((word) => word.replace(/^-/, HIDDEN_DASH));
  return plain.length > 0 ? [...flags, `--${AFTER}`, ...plain] : flags;
}

/** Parsed arguments as they were typed. */
function written(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(HIDDEN_DASH, '-');
  if (Array.isArray(value)) return value.map(written);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, written(inner)]));
}

/** yargs' message as a sentence of ours, and where to read on. */
function advise(message: string, words: readonly string[], known: ReadonlySet<string>): string {
  const [first = '', second = ''] = words;
  const outer = Object.keys(COMMANDS).find((usage) => nameOf(usage) === first);
  const inner = outer === undefined ? undefined : COMMANDS[outer]?.[1];
  const action =
    typeof inner === 'object' ? Object.keys(inner).find((usage) => nameOf(usage) === second) : undefined;
  const found = action === undefined ? outer : `${first} ${action}`;
  const name = action !== undefined ? `${first} ${second}` : (outer && first) || 'palimpsest';
  const forms: readonly [RegExp, (...groups: string[]) => string][] = [
    [
      /^Did you mean (.+)\?$/,
      (meant) =>
        typeof inner === 'object'
          ? `there is no command "${first} ${second}". Did you mean ${first} ${meant}?`
          : `there is no command "${first}". Did you mean ${meant}?`,
    ],
    [
      /^Unknown (?:argument|command)s?: (.+)$/,
      (unknown = '') =>
        found
          ? `${name}: expected ${found} and its flags, found ${unknown
              .split(', ')
              .map((one) => typed(one, words))
              .join(', ')}.${guess(unknown, known)}`
          : `there is no command "${unknown}". There are ${namesOf(COMMANDS)}.`,
    ],
    [
      /^Not enough non-option arguments/,
      () =>
        `${name}: expected ${found}, but nothing was given for ${/<\S+>/.exec(found ?? '')?.[0]}.` +
        (words.includes('--edits')
          ? ' All words after --edits are its files: write it before --edits, or after --.'
          : ''),
    ],
    [/^Not enough arguments following: (.+)$/, (flag) => `--${flag}: expected a value after it, found none.`],
    [
      /^Arguments (.+) and (.+) are mutually exclusive$/,
      (a = '', b = '') =>
        `${name}: expected ${[a, b].map((one) => (known.has(one) ? `--${one}` : one)).join(' or ')}, found both.`,
    ],
    [
      /^Missing dependent arguments:\s+(.+) -> (.+)$/,
      (flag, other) => `--${flag}: expected --${other} with it, found none.`,
    ],
    [
      /^Invalid values:\s+Argument: (.+), Given: (.+), Choices: (.+)$/,
      (flag, given, choices = '') => `--${flag}: expected ${choices.replaceAll('"', '')}, found ${given}.`,
    ],
  ];
  const help = `See palimpsest ${found ? `${name} ` : ''}--help.`;
  for (const [form, say] of forms) {
    const groups = form.exec(message)?.slice(1);
    if (groups) return `${say(...groups)}\n${help}`;
  }
  return `${message}${/[.?!]$/.test(message) ? '' : '.'}\n${help}`;
}

/** The flag that a wrong one is nearest to, where they differ in a third of its letters at most. */
function guess(wrong: string, known: ReadonlySet<string>): string {
  const [nearest] = [...known]
    .map((flag) => ({ flag, off: slips(wrong, flag) }))
    .filter(({ flag, off }) => off <= Math.max(2, flag.length / 3) && off < flag.length)
    .sort((a, b) => a.off - b.off);
  return nearest ? ` Did you mean --${nearest.flag}?` : '';
}

/** Letters to put in, to leave out or to change between two words (Levenshtein). */
function slips(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries())
      next.push(
        Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (letter === other ? 0 : 1)),
      );
    row = next;
  }
  return row.at(-1) ?? 0;
}

function typed(name: string, words: readonly string[]): string {
  const forms = [`-${name}`, `--${name}`, `--no-${name}`];
  return words.find((word) => forms.includes(word.split('=')[0] ?? word)) ?? `"${name}"`;
}
