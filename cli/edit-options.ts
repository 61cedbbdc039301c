/** From the flags of an edit to what the engine takes. Shared by all commands that edit. */
import { SAMPLING_VERSION, parseContexts, sampleContexts } from '../src/edit/contexts.ts';
import { covarianceSolver, identitySolver } from '../src/edit/covariance-solver.ts';
import type { EditSettings } from '../src/edit/edit.ts';
import { MASS_METHODS, METHODS, type MassMethod, type Method } from '../src/edit/method.ts';
import type { ValueOptions } from '../src/edit/value.ts';
import { UsageError } from '../src/errors.ts';
import { CONTEXTS, cachedContexts, contextsFile } from '../src/io/cache.ts';
import { findCovariance, loadCovariance } from '../src/io/covariance-files.ts';
import { readText } from '../src/io/file.ts';
import type { ManifestEntry, OpenedModel } from '../src/io/models.ts';
import type { Run } from './commands.ts';
import type { EDIT_FLAGS, FACTS_FLAGS, Given } from './flags.ts';
import { applyNamed, introduce, withSession, type ModelArguments, type Session } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Whole numbers with commas between; NaN for a word that is none. */
export function numbersOf(words: string): number[] {
  return words.split(',').map((word) => (/^\s*\d+\s*$/.test(word) ? Number(word) : NaN));
}

/** Those of these values that were given: an undefined one stands in the way of no default. */
export function said<T extends object>(values: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

/** As published for GPT-2 XL. */
const STOP_AFTER = 4;

export type EditArguments = Given<typeof EDIT_FLAGS>;
/** Of commands that write one fact or many. */
export type FactsArguments = Omit<EditArguments, 'method' | 'covariance'> &
  ModelArguments &
  Given<typeof FACTS_FLAGS>;

type MethodAsked = Pick<FactsArguments, 'method' | 'covariance' | 'layer' | 'layers'>;

export function massMethodOf(args: MethodAsked): MassMethod | undefined {
  return MASS_METHODS.find((method) => method === args.method);
}

/** The flags that a command for one fact takes in another form. @throws UsageError for a method or flags of many facts */
export function singleFlags(args: MethodAsked) {
  const { method, covariance } = args;
  if (massMethodOf(args))
    throw new UsageError(
      `--method ${method}: writes many facts at once; expected them in a file. Give --facts FILE, or a method for one fact.`,
    );
  if ((covariance?.length ?? 0) > 1)
    throw new UsageError(`--covariance: expected it once, it was given ${covariance?.length} times.`);
  const layer = oneLayer(args);
  return { method: method as Method | 'all' | undefined, covariance: covariance?.[0], layer };
}

/** @throws UsageError unless --layers names one layer, or none */
function oneLayer(args: MethodAsked): number | undefined {
  if (args.layers === undefined) return args.layer;
  const [layer, ...more] = layerList(args);
  if (more.length > 0)
    throw new UsageError(
      `--layers: ${args.method ?? 'r-rome'} edits one layer, found ${more.length + 1}. Give one, or a method for many facts: ${MASS_METHODS.join(', ')}.`,
    );
  return layer;
}

/** @throws UsageError for what is no list of layers */
export function layerList({ layers, layer }: MethodAsked): number[] {
  if (layers === undefined) return layer === undefined ? [] : [layer];
  if (layer !== undefined) throw new UsageError('--layers, --layer: expected one of them, found both.');
  const list = numbersOf(layers);
  if (list.some(Number.isNaN) || new Set(list).size !== list.length)
    throw new UsageError(
      `--layers: expected different whole numbers with commas between, found "${layers}".`,
    );
  return list.sort((a, b) => a - b);
}

/** The methods that make something of a flag. */
const OF_METHODS: Readonly<Record<string, readonly (Method | MassMethod)[]>> = {
  'covariance-weight': ['memit', 'encore', 'emmet'],
  epsilon: ['emmet'],
  'norm-weight': ['encore'],
  'null-space-threshold': ['alphaedit'],
  ridge: ['alphaedit'],
};

/** Names flags that change nothing, since silence would look like consent: scripts give one set to all methods. */
export function noteIdle(args: FactsArguments, terminal: Terminal): void {
  const { method = 'r-rome', stop, stopAfter } = args;
  for (const [flag, methods] of Object.entries(OF_METHODS)) {
    const given = (args as Readonly<Record<string, unknown>>)[flag] !== undefined;
    if (given && !methods.some((one) => one === method))
      terminal.warn(
        `--${flag} changes nothing: it is for --method ${methods.join(', ')}, and this is ${method}.`,
      );
  }
  if (stopAfter !== undefined && stop !== 'probable')
    terminal.warn('--stop-after changes nothing without --stop probable.');
}

/** r-ROME when nothing is said. */
export function methodsFrom(args: EditArguments): readonly Method[] {
  return args.method === 'all' ? METHODS : [args.method ?? 'r-rome'];
}

/** @throws UsageError for a model that nobody told us the edit layer of */
export function layerFrom(args: Pick<EditArguments, 'layer'>, { entry, checkpoint }: OpenedModel): number {
  const layer = args.layer ?? entry?.edit_layer;
  if (layer !== undefined) return layer;
  const { id, architecture } = checkpoint;
  throw new UsageError(
    `edit: expected --layer, since no edit layer is known for ${id}. It has layers 0 to ${architecture.dims.layers - 1}. palimpsest trace --model ${id} --sweep 8 finds one and keeps it; one at about a fifth of them is a fair start.`,
  );
}

export function valueOptionsFrom(
  args: Omit<EditArguments, 'method' | 'covariance'>,
  entry: ManifestEntry | undefined,
): Partial<ValueOptions> {
  const { steps, learningRate, klFactor, weightDecay } = args;
  const stopAfter = args.stop === 'probable' ? (args.stopAfter ?? STOP_AFTER) : undefined;
  const anchorNorm = typeof args.anchorNorm === 'number' ? args.anchorNorm : undefined;
  const clamp = args.clamp ?? entry?.clamp;
  return said({
    steps: steps ?? entry?.steps,
    learningRate: learningRate ?? entry?.learning_rate,
    clamp,
    klFactor: klFactor ?? entry?.kl_factor,
    weightDecay: weightDecay ?? entry?.weight_decay,
    ...{ stopAfter, anchorNorm },
  });
}

/** Reads --contexts early, so that a bad file is found before anything is loaded; undefined when they are sampled. */
export async function contextsFrom<T>(
  { contexts: name }: Pick<EditArguments, 'contexts'>,
  parse: (text: string, name: string) => T,
): Promise<T | undefined> {
  if (name === undefined) return undefined;
  const advice = 'Give a JSON array such as ["{}", "In short. {}"].';
  const text = await readText(name, (what) => new UsageError(`contexts: ${name}: ${what}. ${advice}`));
  return parse(text, name);
}

/** The contexts of a seed, from the cache or from the model as it is: call it before edits are applied. */
export async function sampledContexts(session: Session, seed: number): Promise<string[]> {
  const { model, terminal, signal } = session;
  const path = contextsFile(model.sha256, seed, SAMPLING_VERSION);
  const sample = (): Promise<string[]> =>
    session.timed('sample', () =>
      terminal.watch('sample contexts', (onStep) => sampleContexts(model, seed, { signal, onStep })),
    );
  return cachedContexts(path, CONTEXTS, sample, session.note);
}

/**
 * The solver of a layer, with a title for the line that says what is used; it is given back with the session.
 *
 * @throws EditRefused when `auto` finds none: an edit without C is another method, and is never chosen silently
 */
export async function chooseSolver(session: Session, layer: number, wanted = 'auto') {
  if (wanted === 'identity') return { solver: identitySolver(), title: 'no covariance (C = I)' };
  const { checkpoint, entry } = session.found;
  const onNotice = session.note;
  const path = wanted === 'auto' ? await findCovariance(checkpoint, layer, entry, { onNotice }) : wanted;
  const covariance = await loadCovariance(path, checkpoint, layer);
  const solver = await covarianceSolver(session.gpu, covariance);
  session.atEnd(() => solver.close());
  const source = wanted === 'auto' ? 'covariance' : `covariance ${wanted}`;
  return { solver, title: `${source} of layer ${layer}, ${covariance.tokens.toLocaleString('en')} tokens` };
}

/** What an edit needs beside its request: found once, before the first one. */
export interface Editing extends Session {
  readonly edit: EditSettings;
  /** Of everything random. */
  readonly seed: number;
  /** undefined: the contexts were handed in, and no seed makes them again. */
  readonly contextsSeed: number | undefined;
  /** What u is solved with, for people. */
  readonly solverTitle: string;
}

/**
 * Opens a model for editing and runs `use` on it: layer, C and contexts are chosen, and the edits of --edits are in.
 * Contexts are sampled before these, so that they are the same for a model with and without edits.
 */
export async function withEditing<T>(
  args: EditArguments & ModelArguments,
  run: Run,
  use: (editing: Editing) => Promise<T>,
): Promise<T> {
  if (args.anchorNorm === 'measure')
    throw new UsageError(
      '--anchor-norm: expected a length, since one fact alone has none to be held to. edit --facts and evaluate --batch measure it, and say it.',
    );
  const given = await contextsFrom(args, parseContexts);
  const layers = (found: OpenedModel): number[] => [layerFrom(args, found)];
  return withSession(args, run, { layers }, async (session) => {
    const { model, found, timed } = session;
    const layer = layerFrom(args, found);
    model.checkLayer('edit', layer);
    const { solver, title } = await timed('covariance', () => chooseSolver(session, layer, args.covariance));
    const source = args.layer === undefined ? found.entry?.source : undefined;
    const chosen = source === undefined ? [] : [`layer ${layer} (${source})`];
    introduce(session, ...chosen, title);
    if (args.covariance === 'identity')
      session.note(
        `with C = I all keys near this one move too. A real C: palimpsest covariance build --model ${model.id} --layer ${layer} --corpus FILE`,
      );
    const seed = args.seed ?? 0;
    const contexts = given ?? (await sampledContexts(session, seed));
    await applyNamed(session);
    const edit = { ...valueOptionsFrom(args, found.entry), layer, contexts, solver, freeze: args.freeze };
    return use({ ...session, edit, seed, contextsSeed: given ? undefined : seed, solverTitle: title });
  });
}
