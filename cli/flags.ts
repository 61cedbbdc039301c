/** Flags that several commands share, each written once. */
import { UsageError } from '../src/errors.ts';
import { METHODS } from '../src/edit/method.ts';
import { VALUE_DEFAULTS } from '../src/edit/value.ts';

interface Range {
  readonly integer?: boolean;
  readonly min?: number;
  /** The number itself is excluded. */
  readonly above?: number;
}

/** A flag with one number. It has no type for yargs, which would turn what is no number into NaN before we see it. */
export function number(name: string, describe: string, range: Range = {}) {
  return { requiresArg: true, describe, coerce: coerceNumber(name, range) } as const;
}

/** A flag with one text, given at most once and not empty. */
export function text(name: string, describe: string) {
  return { type: 'string', requiresArg: true, describe, coerce: coerceText(name) } as const;
}

/** A positional or a flag whose text may be empty: the command says what it expects. */
export function once(name: string, describe: string) {
  return { type: 'string', describe, coerce: coerceOnce(name) } as const;
}

/** A flag with one or more files. */
export function files(name: string, describe: string) {
  return { type: 'string', array: true, requiresArg: true, describe, coerce: coerceFiles(name) } as const;
}

function coerceOnce(name: string) {
  return (value: unknown): string | undefined => {
    if (value === undefined) return undefined;
    if (Array.isArray(value))
      throw new UsageError(`${name}: expected it once, it was given ${value.length} times.`);
    return String(value);
  };
}

function coerceText(name: string) {
  return (value: unknown): string | undefined => {
    const one = coerceOnce(name)(value);
    if (one === '') throw new UsageError(`${name}: expected a value, found an empty one.`);
    return one;
  };
}

function coerceNumber(name: string, { integer = false, min, above }: Range) {
  return (value: unknown): number | undefined => {
    const one = coerceText(name)(value);
    if (one === undefined) return undefined;
    const x = Number(one);
    const fits =
      one.trim() !== '' &&
      Number.isFinite(x) &&
      (!integer || Number.isSafeInteger(x)) &&
      (min === undefined || x >= min) &&
      (above === undefined || x > above);
    if (fits) return x;
    const kind = integer ? 'a whole number' : 'a number';
    const from = min !== undefined ? ` from ${min}` : above !== undefined ? ` above ${above}` : '';
    throw new UsageError(`${name}: expected ${kind}${from}, found "${one}".`);
  };
}

function coerceFiles(name: string) {
  return (value: unknown): string[] | undefined => {
    if (value === undefined) return undefined;
    const list = (Array.isArray(value) ? value : [value]).map(String);
    if (list.length === 0 || list.includes(''))
      throw new UsageError(`${name}: expected names of files, found an empty one.`);
    return list;
  };
}

function oneOf<const T extends readonly string[]>(name: string, choices: T) {
  return (value: unknown): T[number] | undefined => {
    const one = coerceOnce(name)(value);
    if (one === undefined) return undefined;
    if (choices.includes(one)) return one as T[number];
    throw new UsageError(`${name}: expected ${choices.join(', ')}, found "${one}".`);
  };
}

/** A flag with one of a few words. */
export function choice<const T extends readonly string[]>(name: string, choices: T, describe: string) {
  const all = `${describe} [${choices.join(', ')}]`;
  return { type: 'string', requiresArg: true, describe: all, coerce: oneOf(name, choices) } as const;
}

/** All commands. */
export const COMMON_FLAGS = {
  json: { type: 'boolean', default: false, describe: 'one JSON document on stdout, nothing else' },
  quiet: { type: 'boolean', default: false, describe: 'nothing on stderr but errors' },
  verbose: { type: 'boolean', default: false, describe: 'say on stderr when each phase begins' },
  color: { type: 'boolean', default: true, describe: 'colours on a terminal; --no-color for none' },
} as const;

export const ADAPTER_FLAGS = {
  adapter: text('--adapter', 'auto, or part of the name of an adapter [default: auto]'),
} as const;

/** Where the time goes: all commands that load a model. */
const TRACE_FLAGS = {
  trace: {
    type: 'boolean',
    default: false,
    describe: 'time every shader: kernel, shape, ms, GFLOP/s, GB/s on stderr',
  },
  'trace-all': { type: 'boolean', default: false, describe: 'the same, one line a dispatch' },
  'trace-file': text('--trace-file', 'write the time of every dispatch to a file, tab-separated'),
} as const;

/** All commands that load a model. */
export const MODEL_FLAGS = {
  ...ADAPTER_FLAGS,
  model: text('--model', 'a known name, a folder or a hub id [default: facts, which is bundled]'),
  weights: choice('--weights', ['f32', 'f16'], 'how matrices are stored on the GPU'),
  offline: { type: 'boolean', default: false, describe: 'never use the network' },
  edits: files('--edits', 'edit files or an edit list: put into the model first, in this order'),
  ...TRACE_FLAGS,
} as const;

export const SEED_FLAG = {
  seed: number('--seed', 'of everything random [default: 0]', { integer: true, min: 0 }),
} as const;

/** All commands that make an edit. */
export const EDIT_FLAGS = {
  method: choice('--method', [...METHODS, 'all'] as const, 'how the update is made [default: r-rome]'),
  layer: number('--layer', 'the layer whose MLP is edited, from 0 [default: that known for the model]', {
    integer: true,
    min: 0,
  }),
  contexts: text('--contexts', 'JSON array of templates with one {} each [default: sampled with --seed]'),
  covariance: text('--covariance', 'auto, identity, or a covariance file [default: auto]'),
  steps: number('--steps', `forward passes at most [default: ${VALUE_DEFAULTS.steps}]`, {
    integer: true,
    min: 1,
  }),
  'learning-rate': number('--learning-rate', `of Adam [default: ${VALUE_DEFAULTS.learningRate}]`, {
    above: 0,
  }),
  clamp: number('--clamp', 'longest delta, in lengths of v0 [default: that known for the model, else 4]', {
    above: 0,
  }),
  'kl-factor': number(
    '--kl-factor',
    `weight of what else is said of the subject [default: ${VALUE_DEFAULTS.klFactor}]`,
    { min: 0 },
  ),
  'weight-decay': number(
    '--weight-decay',
    `weight of the length of delta [default: ${VALUE_DEFAULTS.weightDecay}]`,
    { min: 0 },
  ),
  'on-collapse': choice(
    '--on-collapse',
    ['warn', 'refuse'],
    'what to do with an edit that would disable the model',
  ),
  freeze: {
    type: 'boolean',
    default: true,
    describe: 'compute what delta cannot change once; --no-freeze for every step',
  },
  ...SEED_FLAG,
} as const;
