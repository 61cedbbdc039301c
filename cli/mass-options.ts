/** From the flags of many facts at once to what the engine takes: layers, a metric of each, contexts in groups. */
import type { ContextGroups } from '../src/edit/capture.ts';
import { SAMPLING_VERSION, parseContextGroups, sampleContextGroups } from '../src/edit/contexts.ts';
import { MASS_VALUE_DEFAULTS } from '../src/edit/mass.ts';
import { MASS_DEFAULTS, METHOD_TABLE, type MassMethod } from '../src/edit/method.ts';
import { openMetric, type Metric } from '../src/edit/metric.ts';
import type { Writing } from '../src/edit/writing.ts';
import { UsageError } from '../src/errors.ts';
import { CONTEXT_GROUPS, cachedContexts, contextsFile } from '../src/io/cache.ts';
import { findCovariance, loadCovariance } from '../src/io/covariance-files.ts';
import { cachedEigen } from '../src/io/eigen-cache.ts';
import type { ManifestEntry, OpenedModel } from '../src/io/models.ts';
import { plural } from '../src/numerals.ts';
import type { Run } from './commands.ts';
import {
  contextsFrom,
  layerFrom,
  layerList,
  massMethodOf,
  methodsFrom,
  singleFlags,
  valueOptionsFrom,
  withEditing,
} from './edit-options.ts';
import type { FactsArguments } from './edit-options.ts';
import { applyNamed, introduce, withSession, type Session } from './session.ts';

export interface FactsEditing extends Session {
  readonly writing: Writing;
  readonly layers: readonly number[];
  readonly seed: number;
  readonly contextsSeed: number | undefined;
  /** Which C of each layer, by the keys that edit files carry. */
  readonly covariances: Readonly<Record<string, string>>;
  /** Everything that decides what is written, for people and for a run that is gone on with. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export async function withFactsEditing<T>(
  args: FactsArguments,
  run: Run,
  use: (editing: FactsEditing) => Promise<T>,
): Promise<T> {
  if (args.method === 'all')
    throw new UsageError('--method: expected one method for many facts, found all. Run it once for each.');
  const method = massMethodOf(args);
  if (method) return withMass(args, method, run, use);
  const anchorNorm = args.anchorNorm === 'measure' ? undefined : args.anchorNorm;
  const single = { ...args, ...singleFlags(args), anchorNorm };
  return withEditing(single, run, (editing) => {
    const { layer, solver, contexts, freeze, ...value } = editing.edit;
    const edit = { ...editing.edit, memory: memoryOf(args) };
    const method = methodsFrom(single)[0] ?? 'r-rome';
    const chosen = { layers: [layer], covariances: { [layer]: solver.key } };
    const settings = { ...editing.settings, method, ...chosen, contexts, value, freeze };
    return use({ ...editing, writing: { kind: 'single', method, edit }, ...chosen, settings });
  });
}

async function withMass<T>(
  args: FactsArguments,
  method: MassMethod,
  run: Run,
  use: (editing: FactsEditing) => Promise<T>,
): Promise<T> {
  const given = await contextsFrom(args, parseContextGroups);
  const layersOf = (found: OpenedModel): readonly number[] => layersFrom(args, found);
  return withSession(args, run, { layers: layersOf }, async (session) => {
    const layers = layersFrom(args, session.found);
    const mass = await massWriting(session, args, method, layers);
    const { metrics, value, freeze } = mass;
    const [first] = metrics.values();
    introduce(
      session,
      METHOD_TABLE[method].title,
      `${plural(layers.length, 'layer')} (${layers.join(', ')})`,
      ...(first ? [first.description] : []),
    );
    const seed = args.seed ?? 0;
    const contexts = given ?? (await sampledGroups(session, seed));
    await applyNamed(session);
    const covariances = Object.fromEntries([...metrics].map(([layer, { key }]) => [layer, key]));
    const chosen = { layers, covariances };
    const own = { method, ...chosen, contexts, value, freeze, ...massSettings(mass) };
    const settings = { ...session.settings, ...own };
    const contextsSeed = given ? undefined : seed;
    return use({ ...session, writing: { ...mass, contexts }, ...chosen, seed, contextsSeed, settings });
  });
}

/** A method for many facts but for its contexts: a metric of each layer, and how values are searched for. */
type MassWriting = Omit<Extract<Writing, { kind: 'mass' }>, 'contexts'>;

/** @throws UsageError for layers that there are not, or a covariance that cannot be used */
export async function massWriting(
  session: Session,
  args: FactsArguments,
  method: MassMethod,
  layers: readonly number[],
): Promise<MassWriting> {
  const { model, timed } = session;
  const { checkpoint, entry } = session.found;
  for (const layer of layers) model.checkLayer('edit', layer);
  const last = model.dims.layers - 1;
  // What is added after the last block reaches no later token.
  if (layers.includes(last))
    throw new UsageError(
      `--layers: expected layers before the last one, found ${last} of 0 to ${last}: after the last block nothing attends to the subject any more. Choose earlier layers.`,
    );
  const options = massOptionsFrom(args, method, entry);
  const wanted = covariancesOf(args, layers);
  const metrics = new Map<number, Metric>();
  await timed('covariance', async () => {
    for (const [i, layer] of layers.entries()) {
      const path = wanted[i] ?? (await findCovariance(checkpoint, layer, entry));
      const covariance = await loadCovariance(path, checkpoint, layer);
      const metric = await openMetric(session.gpu, { method, options, covariance, eigen: cachedEigen });
      session.atEnd(() => metric.close());
      metrics.set(layer, metric);
    }
  });
  const { clamp, ...rest } = valueOptionsFrom(args, undefined);
  const value = { ...MASS_VALUE_DEFAULTS, ...rest, ...(clamp !== undefined && { clamp }) };
  return { kind: 'mass', method, layers, metrics, value, memory: memoryOf(args), freeze: args.freeze };
}

/** The options that the method looks at. */
export function massSettings({ method, metrics }: Pick<MassWriting, 'method' | 'metrics'>): object {
  const [metric] = metrics.values();
  return Object.fromEntries(METHOD_TABLE[method].options.map((name) => [name, metric?.options[name]]));
}

function memoryOf({ memory }: Pick<FactsArguments, 'memory'>): number | undefined {
  return memory === undefined ? undefined : memory * 2 ** 20;
}

/** What of the options the flags say, then what is known of the model, then the papers. */
function massOptionsFrom(args: FactsArguments, method: MassMethod, entry: ManifestEntry | undefined) {
  const known = entry?.mass?.[method];
  const papers = MASS_DEFAULTS;
  return {
    covarianceWeight: args.covarianceWeight ?? known?.covariance_weight ?? papers.covarianceWeight,
    epsilon: args.epsilon ?? known?.epsilon ?? papers.epsilon,
    normWeight: args.normWeight ?? known?.norm_weight ?? papers.normWeight,
    nullSpaceThreshold: args.nullSpaceThreshold ?? known?.null_space_threshold ?? papers.nullSpaceThreshold,
    ridge: args.ridge ?? known?.ridge ?? papers.ridge,
  };
}

function layersFrom(args: FactsArguments, found: OpenedModel): readonly number[] {
  const given = layerList(args);
  if (given.length > 0) return given;
  return found.entry?.edit_layers ?? [layerFrom(args, found)];
}

/** Of each layer its file; undefined: found by itself. */
function covariancesOf({ covariance = [] }: FactsArguments, layers: readonly number[]) {
  if (covariance.includes('identity'))
    throw new UsageError(
      '--covariance identity: many facts at once need the covariance of every layer: it says what ordinary text must keep. Build it with palimpsest covariance build.',
    );
  const files = covariance.filter((one) => one !== 'auto');
  if (files.length > 0 && files.length !== layers.length)
    throw new UsageError(
      `--covariance: expected one file a layer, ${layers.length} for layers ${layers.join(', ')}, found ${files.length}.`,
    );
  return layers.map((_, i) => files[i]);
}

/** The context groups of a seed, from the cache or from the model as it is. */
export async function sampledGroups(session: Session, seed: number): Promise<ContextGroups> {
  const { model, signal } = session;
  const path = contextsFile(model.sha256, seed, `${SAMPLING_VERSION}.groups`);
  const sample = (): Promise<ContextGroups> =>
    session.timed('sample', () => sampleContextGroups(model, seed, { signal }));
  return cachedContexts<ContextGroups>(path, CONTEXT_GROUPS, sample, session.note);
}
