/** Flags that several commands share, each written once. */
import type { InferredOptionType, Options } from 'yargs';
import { UsageError } from '../src/errors.ts';
import { STORAGES } from '../src/models/storage.ts';
import { MASS_DEFAULTS, MASS_METHODS, METHODS } from '../src/edit/method.ts';
import { VALUE_DEFAULTS } from '../src/edit/value.ts';
import { KINDS, type FolderKind, type Kind } from './files.ts';

type CamelCase<Name> = Name extends `${infer Word}-${infer Rest}`
  ? `${Word}${Capitalize<CamelCase<Rest>>}`
  : Name;

/** What a command is given of these flags, under the names that yargs gives them. */
export type Given<Flags extends Readonly<Record<string, Options>>> = {
  readonly [Name in keyof Flags as CamelCase<Name>]?: InferredOptionType<Flags[Name]> | undefined;
};

interface Range {
  readonly integer?: boolean;
  readonly min?: number;
  readonly max?: number | undefined;
  /** The number itself is excluded. */
  readonly above?: number;
}

/** A flag or positional given at most once; its text may be empty: the command says what it expects. */
export function once(describe: string) {
  return { type: 'string', describe, coerce: single } as const;
}

/** A flag with one text that is not empty. */
export function text(describe: string) {
  return { type: 'string', nargs: 1, describe, coerce: filled } as const;
}

/** A flag with one whole number. */
export function whole(describe: string, min: 0 | 1, max?: number) {
  return ranged(describe, { integer: true, min, max });
}

/** A flag with one number from 0 on. */
export function number(describe: string) {
  return ranged(describe, { min: 0 });
}

/** A flag with one number above 0. */
export function positive(describe: string) {
  return ranged(describe, ABOVE_0);
}

const ABOVE_0 = { above: 0 };

/** It has no type for yargs, which would turn what is no number into NaN before we see it. */
function ranged(describe: string, range: Range) {
  const coerce = (value: unknown, name?: string): number | undefined =>
    inRange(filled(value, name), range, name);
  return { nargs: 1, describe, coerce } as const;
}

/** A flag without a value; `--no-NAME` takes back one that is on. */
export function flag(describe: string, on = false) {
  return { type: 'boolean', default: on, describe } as const;
}

export function choice<const T extends string>(choices: readonly T[], describe: string) {
  const coerce = (value: unknown, name?: string): T | undefined => single(value, name) as T | undefined; // yargs checks it next
  return { nargs: 1, describe, choices, coerce } as const;
}

export function files(describe: string) {
  return {
    type: 'string',
    array: true,
    requiresArg: true,
    describe,
    coerce: everyFilled,
    file: { role: 'input' },
  } as const;
}

export function input(describe: string) {
  return { ...text(describe), file: { role: 'input' } } as const;
}

export function output(describe: string, kind: Kind) {
  return { ...text(describe), file: { role: 'output', kind } } as const;
}

/** A flag with a file that the command reads and writes again. */
export function changed(describe: string, kind: Kind) {
  return { ...text(describe), file: { role: 'both', kind } } as const;
}

export function folder(describe: string, names: FolderKind) {
  return { ...text(describe), file: { role: 'folder', files: names } } as const;
}

/** A flag with a name for its file or folder when none is given. */
export function or<F extends ReturnType<typeof text>>(fallback: string, named: F) {
  const coerce = (value: unknown, name?: string): string => filled(value, name) ?? fallback;
  return { ...named, coerce, default: fallback };
}

// What follows gets the value of a flag and, from `command`, what users call it.

function single(value: unknown, name = ''): string | undefined {
  if (Array.isArray(value))
    throw new UsageError(`${name}: expected it once, it was given ${value.length} times.`);
  if (typeof value === 'boolean')
    throw new UsageError(
      `${name}: expected a value; --no-${name.replace(/^--/, '')} is no flag. Leave it out.`,
    );
  return value === undefined ? undefined : String(value);
}

function filled(value: unknown, name = ''): string | undefined {
  const one = single(value, name);
  if (one === '') throw new UsageError(`${name}: expected a value, found an empty one.`);
  return one;
}

function everyFilled(value: unknown, name?: string): string[] | undefined {
  return value === undefined ? undefined : [value].flat().map((one) => String(filled(one, name)));
}

function inRange(one: string | undefined, { integer = false, min, above, max }: Range, name = '') {
  if (one === undefined) return undefined;
  const x = one.trim() === '' ? NaN : Number(one);
  const isNumber = integer ? Number.isSafeInteger(x) : Number.isFinite(x);
  if (isNumber && x >= (min ?? -Infinity) && x > (above ?? -Infinity) && x <= (max ?? Infinity)) return x;
  const from = min !== undefined ? ` from ${min}` : above !== undefined ? ` above ${above}` : '';
  const to = max !== undefined ? ` to ${max.toLocaleString('en')}` : '';
  throw new UsageError(
    `${name}: expected ${integer ? 'a whole number' : 'a number'}${from}${to}, found "${one}".`,
  );
}

/** Flags that --help lists under a title of their own, but for those that have one already. */
function grouped<T extends Readonly<Record<string, Options>>>(group: string, flags: T): T {
  return Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, { group, ...flag }])) as T;
}

const EDIT_GROUP = 'How an edit is made:';

export const ADAPTER_FLAGS = {
  adapter: text('auto, or part of the name of an adapter [default: auto]'),
} as const;

/** Where the time goes: all commands that load a model. */
const TRACE_FLAGS = {
  trace: flag('time every shader: kernel, shape, ms, GFLOP/s, GB/s on stderr'),
  'trace-all': flag('the same, one line a dispatch'),
  'trace-file': output('write the time of every dispatch to a file, tab-separated', KINDS.times),
} as const;

export const WEIGHTS = choice(
  STORAGES,
  'how matrices are stored: f32, 16 bits, or what memory allows [default: auto]',
);

/** All commands that load a model. */
export const MODEL_FLAGS = grouped('The model, and what it runs on:', {
  ...ADAPTER_FLAGS,
  model: text('a known name, a folder or a hub id [default: facts, which is bundled]'),
  weights: WEIGHTS,
  revision: text('a branch, a tag or a commit of a model of the hub [default: main]'),
  offline: flag('never use the network'),
  fetch: flag('download a model that only an edit file names, too'),
  edits: files('edit files or an edit list: put into the model first, in this order'),
  ...TRACE_FLAGS,
} as const);

export const SEED_FLAG = { seed: whole('of everything random [default: 0]', 0) } as const;

/** The losses of all steps lie in one buffer. */
const MOST_STEPS = 100_000;

/** All commands that make an edit. */
export const EDIT_FLAGS = grouped(EDIT_GROUP, {
  method: choice([...METHODS, 'all'] as const, 'how the update is made [default: r-rome]'),
  layer: whole('the layer whose MLP is edited, from 0 [default: that known for the model]', 0),
  contexts: input('JSON array of templates with one {} each [default: sampled with --seed]'),
  covariance: input('auto, identity, or a covariance file [default: auto]'),
  steps: whole(`forward passes at most [default: ${VALUE_DEFAULTS.steps}]`, 1, MOST_STEPS),
  'learning-rate': positive(`of Adam [default: ${VALUE_DEFAULTS.learningRate}]`),
  clamp: positive('longest delta, in lengths of v0 [default: that known for the model, else 4]'),
  'kl-factor': number(`weight of what else is said of the subject [default: ${VALUE_DEFAULTS.klFactor}]`),
  'weight-decay': number(`weight of the length of delta [default: ${VALUE_DEFAULTS.weightDecay}]`),
  'on-collapse': choice(['warn', 'refuse'], 'what to do with an edit that would disable the model'),
  stop: choice(
    ['loss', 'probable'],
    'when the search for a value ends early: at a small loss, or also once the target is the most probable [default: loss; of paper --sequel probable]',
  ),
  'stop-after': whole(
    'with --stop probable: steps at which every sampled context says the whole target [default: 4]',
    1,
  ),
  'anchor-norm': {
    type: 'string',
    describe:
      'give every value v* this length (NAS); without a number, the mean of the facts on the unedited model',
    coerce: anchorFrom,
  },
  freeze: flag('compute what delta cannot change once; --no-freeze for every step', true),
  ...SEED_FLAG,
} as const);

/** A length, or `measure` where the flag stands alone. */
function anchorFrom(value: unknown, name?: string): number | 'measure' | undefined {
  const one = single(value, name);
  return one === '' ? 'measure' : inRange(one, ABOVE_0, name);
}

/** All commands that write many facts at once, beside those of an edit. */
export const FACTS_FLAGS = grouped('Many facts at once:', {
  method: {
    ...choice(
      [...METHODS, 'all', ...MASS_METHODS] as const,
      'how the update is made; the last four write many facts at once [default: r-rome]',
    ),
    group: EDIT_GROUP,
  },
  layers: text('layers that share the work, with commas between [default: those known for the model]'),
  covariance: {
    type: 'string',
    array: true,
    nargs: 1,
    describe: 'auto, identity, or a covariance file; with --layers once a layer [default: auto]',
    coerce: everyFilled,
    file: { role: 'input' },
    group: EDIT_GROUP,
  },
  batch: whole('facts at a time [default: all at once]', 1),
  'covariance-weight': positive(
    `facts that C stands for: lambda of MEMIT and ENCORE, w of EMMET [default: ${MASS_DEFAULTS.covarianceWeight.toLocaleString('en')}]`,
  ),
  epsilon: positive(`EMMET: weight of what may be left undone [default: ${MASS_DEFAULTS.epsilon}]`),
  'norm-weight': number(`ENCORE: weight of |U| [default: ${MASS_DEFAULTS.normWeight}]`),
  'null-space-threshold': positive(
    `AlphaEdit: eigenvalues of C below it count as null [default: ${MASS_DEFAULTS.nullSpaceThreshold}]`,
  ),
  ridge: positive(`AlphaEdit: L2 [default: ${MASS_DEFAULTS.ridge}]`),
  conflicts: choice(
    ['refuse', 'last'],
    'facts that contradict each other: an error, or the last of them is written [default: refuse]',
  ),
  memory: positive('MiB that the search for values may take [default: 1,024]'),
} as const);
