/**
 * What a command is, and all of them in the order that --help lists them. A command's file is loaded when the line names it,
 * not before.
 */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options, PositionalOptions } from 'yargs';
import { Files, type FileRole, type NamedRole } from './files.ts';
import type { Terminal } from './terminal.ts';

export interface Run {
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl-C, its reason an `Interrupted`. */
  readonly signal: AbortSignal;
  /** Every file that it reads or writes; those of its flags are in it, and were looked at. */
  readonly files: Files;
}

/** What a command has to say under `--json`, around `schema` and `command`. */
export interface Report {
  readonly adapter?: { readonly description: string; readonly kind: string; readonly backend: string };
  readonly model?: {
    readonly id: string;
    readonly sha256: string;
    readonly weights?: string;
    /** Ids of those that were put into it first. */
    readonly edits?: readonly string[];
  };
  readonly result: unknown;
  readonly timings_ms?: Readonly<Record<string, number>>;
  /** An error that the result explains, e.g. what `doctor` found without an adapter. */
  readonly error?: Error | undefined;
  /** Lets go of what was kept in case the result is lost on its way: called once it is told. */
  readonly told?: (() => Promise<void>) | undefined;
}

export interface Command {
  /** Names of its flags. */
  readonly flags: ReadonlySet<string>;
  readonly builder: (yargs: Argv) => Argv;
  readonly handler: (args: ArgumentsCamelCase, run: Omit<Run, 'files'>) => Promise<Report>;
}

type Flags = Readonly<Record<string, Options>>;
type None = Readonly<Record<never, Options>>;

interface Spec<Positionals extends Flags, Own extends Flags> {
  readonly positionals?: Positionals;
  /** In the order of --help. */
  readonly flags?: Own;
  readonly conflicts?: Readonly<Record<string, string | readonly string[]>>;
  /** What is typed, and what comes of it. The examples of all commands run one after another in an empty folder. */
  readonly examples?: Readonly<Record<string, string>>;
  readonly epilogue?: string;
  readonly run: (
    args: ArgumentsCamelCase<InferredOptionTypes<Positionals & Own>>,
    run: Run,
  ) => Promise<Report>;
}

/** What a flag of `flags.ts` has that yargs does not know of: its file, and a `coerce` that is told what users call it. */
interface Flag {
  readonly file?: FileRole;
  readonly coerce?: (value: unknown, name: string) => unknown;
}

/** Of every command that writes a file which a flag names. */
const OVERWRITE = {
  type: 'boolean',
  default: false,
  describe: 'replace files that palimpsest did not make, and begin a run anew',
} as const;

/** A command whose `run` is typed by its flags. Its files are looked at before it begins. */
export function command<Positionals extends Flags = None, Own extends Flags = None>(
  spec: Spec<Positionals, Own>,
): Command {
  const { conflicts = {}, examples = {}, epilogue, run } = spec;
  const roles = new Map<string, NamedRole>();
  /** For yargs. The key of a flag is its name, and is written once. */
  const named = (flags: Flags = {}, dashes = ''): [string, Options][] =>
    Object.entries(flags as Readonly<Record<string, Flag>>).map(([key, { file, coerce, ...rest }]) => {
      const name = dashes + key;
      if (file) roles.set(key, { ...file, flag: name });
      return [key, coerce ? { ...rest, coerce: (value: unknown) => coerce(value, name) } : rest];
    });
  const positionals = named(spec.positionals);
  const flags = Object.fromEntries(named(spec.flags, '--'));
  if ([...roles.values()].some(({ role }) => role !== 'input')) flags['overwrite'] = OVERWRITE;
  return {
    flags: new Set(Object.keys(flags)),
    builder: (yargs) => {
      yargs.group([], 'Positionals:').group([], 'Options:'); // first in --help
      for (const [key, positional] of positionals) yargs.positional(key, positional as PositionalOptions);
      for (const [typed, outcome] of Object.entries(examples)) yargs.example(typed, outcome);
      if (epilogue !== undefined) yargs.epilogue(epilogue);
      return yargs.options(flags).conflicts(conflicts);
    },
    handler: async (args, context) => {
      const files = await Files.of(roles, args);
      return run(args as Parameters<typeof run>[0], { ...context, files });
    },
  };
}

type Load = () => Promise<Command>;

/** By name and positionals as yargs writes them, `predict <text>`: a summary, and a command or a word's several actions. */
export interface Commands {
  readonly [usage: string]: readonly [summary: string, what: Load | Commands];
}

const edit: Load = async () => (await import('./edit.ts')).edit;
const predict: Load = async () => (await import('./predict.ts')).predict;
const generate: Load = async () => (await import('./generate.ts')).generate;
const apply: Load = async () => (await import('./apply.ts')).apply;
const history: Load = async () => (await import('./apply.ts')).history;
const revert: Load = async () => (await import('./apply.ts')).revert;
const exportModel: Load = async () => (await import('./export.ts')).exportModel;
const merge: Load = async () => (await import('./export.ts')).merge;
const importAdapter: Load = async () => (await import('./export.ts')).importAdapter;
const evaluate: Load = async () => (await import('./evaluate.ts')).evaluate;
const sequence: Load = async () => (await import('./sequence.ts')).sequence;
const trace: Load = async () => (await import('./causal-trace.ts')).causalTrace;
const explain: Load = async () => (await import('./explain.ts')).explain;
const page: Load = async () => (await import('./explain.ts')).page;
const paper: Load = async () => (await import('./paper.ts')).paper;
const bench: Load = async () => (await import('./bench.ts')).bench;
const doctor: Load = async () => (await import('./doctor.ts')).doctor;

const build: Load = async () => (await import('./covariance.ts')).build;
const info: Load = async () => (await import('./covariance.ts')).info;
const mergeShards: Load = async () => (await import('./covariance.ts')).merge;
const importNpz: Load = async () => (await import('./covariance.ts')).importNpz;
const exportNpz: Load = async () => (await import('./covariance.ts')).exportNpz;
const list: Load = async () => (await import('./doctor.ts')).list;
const fetchModel: Load = async () => (await import('./doctor.ts')).fetchModel;

const COVARIANCE: Commands = {
  build: ['sum the keys of a corpus; interrupted, the same command goes on', build],
  'info <file>': ['what a covariance file is of; its numbers are checked', info],
  'merge <files..>': ['the shards of one build brought together', mergeShards],
  'import <npz>': ["take over statistics that ROME's or MEMIT's code wrote", importNpz],
  'export <file>': ["write a covariance as ROME's .npz", exportNpz],
};

const MODELS: Commands = {
  list: ['the known models, and where they are on this machine', list],
  'fetch <model>': ['download a model into the Hugging Face cache, and check it', fetchModel],
};

export const COMMANDS: Commands = {
  'edit [sentence] [continuation]': ['one edit: before and after, and every number of it', edit],
  'predict <text..>': ['the most likely next tokens after a text, without and with edits', predict],
  'generate <prompt..>': ['continue prompts, sampled with a seed or greedily', generate],
  'apply <files..>': ['add edit files to an edit list, and check them together', apply],
  history: ['the edits of an edit list, in order', history],
  'revert <edits..>': ['take edits out of an edit list: exactly, even out of the middle', revert],
  'export <folder>': [
    'write the edited model as a full Hugging Face checkpoint, or the edits as a LoRA adapter',
    exportModel,
  ],
  'merge <files..>': ['make one edit file of several', merge],
  'import <adapter>': ['make edit files again of an adapter that export wrote', importAdapter],
  covariance: ['C of a layer: build, info, merge, import, export', COVARIANCE],
  'evaluate [data] [shards..]': [
    'single edits over a data set: efficacy, paraphrase, neighbourhood, score, fluency',
    evaluate,
  ],
  'sequence [data]': ['one edit after another on the same weights, judged, measured, resumable', sequence],
  'trace [sentence] [object]': ['causal tracing of a fact, or of many: which layer to edit', trace],
  'explain [file]': ['an edit file step by step: equation, shapes, shaders, numbers', explain],
  page: ['edit a fact in the browser, and watch every number', page],
  paper: ['the whole study of "Rebuilding ROME" on one model, with its report', paper],
  'bench [family]': ['how fast the shaders are here: families of kernels, and whole phases', bench],
  models: ['checkpoints: list, fetch', MODELS],
  doctor: ['adapter, limits, caches, versions: the text to paste into an issue', doctor],
};
