/** What yargs misreads, written so that it does not. */

/** Stands for `--`: the files of a flag end before it. */
export const AFTER = 'words-follow';

/** Of Unicode's private use area: in no text that means anything. */
const HIDDEN_DASH = '\uf8fe';

/**
 * The words of the command line for yargs.
 *
 * A lone `-` after a flag is its value, stdin (`--corpus -`); yargs takes it for a word of its own. What follows `--` are
 * plain words; yargs counts them too late to be positionals, so one that begins with a dash hides it until `written`.
 */
export function ready(words: readonly string[]): string[] {
  const end = words.indexOf('--');
  const flags: string[] = [];
  for (const word of end < 0 ? words : words.slice(0, end)) {
    const last = flags.at(-1);
    if (word === '-' && last !== undefined && /^--[a-z-]+$/.test(last)) flags[flags.length - 1] = `${last}=-`;
    else flags.push(word);
  }
  if (end < 0) return flags;
  const plain = words
    .slice(end + 1)
    .map((word) => (word.startsWith('-') ? HIDDEN_DASH + word.slice(1) : word));
  return [...flags, `--${AFTER}`, ...plain];
}

/** Parsed arguments as they were typed. */
export function written<T extends object>(args: T): T {
  const show = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(show);
    return typeof value === 'string' && value.startsWith(HIDDEN_DASH) ? `-${value.slice(1)}` : value;
  };
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, show(value)])) as T;
}
