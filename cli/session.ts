/** What every command shares that loads a model: adapter, model, edits already in it, and giving all of it back. */
import process from 'node:process';
import { applyEdits } from '../src/edit/apply.ts';
import { checkAnyRecord, targetsOf, updatesOf } from '../src/edit/facts-record.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { PalimpsestError } from '../src/errors.ts';
import { openGpu } from '../src/gpu/node.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import type { HubOptions } from '../src/io/hub.ts';
import { openModel, type OpenedModel } from '../src/io/models.ts';
import type { Profiler } from '../src/lab/profile.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { chooseStorage, type ChosenStorage } from '../src/models/storage.ts';
import { megabytes, plural } from '../src/numerals.ts';
import type { Report, Run } from './commands.ts';
import { readEdits, warnOfUnverified, type NamedEdit } from './edit-list.ts';
import type { Given, MODEL_FLAGS } from './flags.ts';
import type { Progress, Terminal } from './terminal.ts';

export const BUNDLED_MODEL = 'facts';

export type ModelArguments = Given<typeof MODEL_FLAGS>;

export interface Session extends Run {
  readonly gpu: Gpu;
  /** A remark that belongs to no result. */
  readonly note: (text: string) => void;
  /** Gives something back when the session ends, e.g. a factored covariance. */
  readonly atEnd: (close: () => void) => void;
  readonly model: Model;
  /** How its weights are stored, and why. */
  readonly weights: ChosenStorage;
  /** Its checkpoint, where that lies, and what the manifest knows of it. */
  readonly found: OpenedModel;
  /** Edits named with --edits; `applyNamed` puts them into the model. */
  readonly edits: readonly NamedEdit[];
  /** Their ids. */
  readonly earlier: readonly string[];
  readonly timings: Record<string, number>;
  /** Measures a phase in `timings`, and says so under --verbose. */
  readonly timed: <T>(phase: string, work: () => Promise<T>) => Promise<T>;
  /** What of the report is the same for all commands. */
  readonly about: Required<Pick<Report, 'adapter' | 'model'>>;
  /** What of the settings of a run is the same for all commands. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Says where the time went, and gives the report of a command. */
  readonly report: (result: unknown, error?: Error) => Report;
}

export interface SessionOptions {
  /** Edits that were read already, in place of those that `args` names. */
  readonly edits?: readonly NamedEdit[];
  /** Layers that will be edited, chosen before anything is loaded; their weights stay f32. */
  readonly layers?: (found: OpenedModel) => readonly number[];
}

/** Opens adapter and model, runs `use`, and gives memory and device back, however that ended. */
export async function withSession<T>(
  args: ModelArguments,
  run: Run,
  options: SessionOptions,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const { terminal } = run;
  let profiler: Profiler;
  const { timings, timed } = stopwatch(run, () => profiler?.collect());
  const edits = options.edits ?? (await readEdits(args.edits ?? []));
  const found = await timed('open', () => findCheckpoint(args, run, edits));
  const { checkpoint } = found;
  const layers = options.layers?.(found) ?? [];
  const gpu = await timed('adapter', () => openGpu(args.adapter, { verbose: terminal.verbose }));
  const closers: (() => void)[] = [];
  let model: Model | undefined;
  try {
    if (args.trace || args.traceAll || args.traceFile !== undefined)
      profiler = (await import('../src/lab/profile.ts')).profilerOf(gpu, args, terminal);
    const editable = [
      ...edits.flatMap(({ record }) => targetsOf(record).map(({ layer }) => layer)),
      ...layers,
    ];
    const loaded = await timed('load', () => loadWatched(gpu, checkpoint, args.weights, editable, run));
    const { weights } = loaded;
    model = loaded.model;
    const earlier = edits.map(({ id }) => id);
    const about = {
      adapter: aboutAdapter(gpu),
      model: { id: model.id, sha256: model.sha256, weights: weights.storage },
    };
    const result = await use({
      ...run,
      gpu,
      note: (text) => terminal.note(`palimpsest: ${text}`),
      atEnd: (close) => void closers.push(close),
      model,
      weights,
      found,
      edits,
      earlier,
      timings,
      timed,
      about,
      settings: { adapter: about.adapter.description, model: about.model, edits: earlier },
      report: (found, error) => {
        reportTimings({ timings }, run);
        const model = { ...about.model, ...(earlier.length > 0 && { edits: earlier }) };
        return { ...about, model, result: found, timings_ms: timings, error };
      },
    });
    await profiler?.report();
    if (profiler && args.traceFile !== undefined) await writeAtomic(args.traceFile, profiler.lines());
    return result;
  } finally {
    for (const close of closers.reverse()) close();
    model?.destroy();
    gpu.destroy();
  }
}

/**
 * Measures phases, says them under --verbose, and begins none once the user wants to stop.
 *
 * @param after what belongs to the end of every phase
 */
export function stopwatch(
  { terminal, signal }: Run,
  after?: () => Promise<void> | undefined,
): Pick<Session, 'timings' | 'timed'> {
  const timings: Record<string, number> = {};
  const timed: Session['timed'] = async (phase, work) => {
    signal.throwIfAborted();
    terminal.phase(phase);
    const start = performance.now();
    try {
      const result = await work();
      await after?.();
      return result;
    } finally {
      timings[phase] = (timings[phase] ?? 0) + performance.now() - start;
    }
  };
  return { timings, timed };
}

export async function applyNamed({ model, edits, timed }: Session): Promise<void> {
  if (edits.length === 0) return;
  const changes = edits.flatMap(({ record }) => updatesOf(record));
  await timed('apply', () => applyEdits(model, changes));
}

/** The one line that says what is used. */
export function introduce({ gpu, model, edits, weights, note }: Session, ...more: string[]): void {
  const because = weights.reason === undefined ? '' : ` (${weights.reason})`;
  const parts = [adapterName(gpu.adapter), `model ${model.id} in ${weights.storage}${because}`, ...more];
  if (edits.length > 0) parts.push(`${plural(edits.length, 'edit')} in it`);
  note(parts.join(' · '));
  for (const notice of model.tokenizer.notices) note(`${model.id}: ${notice}.`);
}

/** Texts that the model is to continue are taken as they are. */
export function noteBrackets({ note }: Session, texts: readonly string[]): void {
  if (texts.some((text) => /\[[^[\]]+\]/.test(text)))
    note('the brackets are part of the text here; only edit and trace take them off a subject.');
}

export function aboutAdapter({ adapter: { description, kind, backend } }: Gpu): Required<Report>['adapter'] {
  return { description, kind, backend };
}

/** All that is known of an adapter. */
export function adapterSection(gpu: Gpu): Record<string, string | number> {
  const { vendor, architecture, subgroupSize, features } = gpu.adapter;
  return {
    ...aboutAdapter(gpu),
    vendor,
    architecture,
    subgroup_size: subgroupSize === 0 ? 'none or varying' : subgroupSize,
    timestamps: gpu.timer.available ? 'yes' : 'no',
    features: features.join(' '),
  };
}

/** An adapter for people: what computes in software says so. */
export function adapterName({ description, kind }: Required<Report>['adapter']): string {
  return `${description}${kind === 'software' ? ' (software)' : ''}`;
}

export function reportTimings({ timings }: Pick<Session, 'timings'>, run: Run): void {
  const parts = Object.entries(timings)
    .filter(([, ms]) => ms >= 5)
    .map(([phase, ms]) => `${phase} ${seconds(ms)}`);
  const total = Object.values(timings).reduce((sum, ms) => sum + ms, 0);
  run.terminal.note(`palimpsest: ${parts.join(', ')}; ${seconds(total)} in all`);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 9950 ? 2 : 1)} s`;
}

/**
 * The model named with --model, else the one that the edits were made for, else the bundled one.
 *
 * @throws UsageError when an edit belongs to another model
 */
export async function findCheckpoint(
  args: Pick<ModelArguments, 'model' | 'revision' | 'offline' | 'fetch'>,
  { terminal, signal, files }: Run,
  edits: readonly NamedEdit[] = [],
): Promise<OpenedModel> {
  const [edit] = edits;
  const unasked =
    args.model === undefined && edit && !args.fetch
      ? `only the edit file ${edit.file} names it, so it is not fetched unasked`
      : undefined;
  const { revision, offline } = args;
  const model = args.model ?? edit?.record.model.id ?? BUNDLED_MODEL;
  const opening = openWatched(model, { revision, offline, unasked, signal }, terminal);
  const found = await opening.catch((error: unknown) => {
    const isNamed = args.model === undefined && edit && error instanceof PalimpsestError;
    if (isNamed && !error.message.includes(edit.file))
      error.message += ` The edit file ${edit.file} names this model; --model says where it is.`;
    throw error;
  });
  const { checkpoint } = found;
  await files.reads('--model', found.folder);
  await files.reads('--edits', ...edits.map(({ file }) => file));
  if (edits.length > 0) {
    warnOfUnverified(edits, terminal);
    const about = { ...checkpoint, sha256: await unlessAborted(signal, checkpoint.sha256()) };
    for (const { record, file } of edits) checkAnyRecord(record, file, about);
  }
  return found;
}

/** A model that is fetched first where it is not here, under a bar. */
export function openWatched(model: string, options: HubOptions, terminal: Terminal): Promise<OpenedModel> {
  const open = (update: Progress['update']): Promise<OpenedModel> =>
    openModel(model, {
      ...options,
      onProgress: ({ bytes, total }) => update(bytes, total),
      onNotice: (text) => terminal.note(`palimpsest: ${text}`),
    });
  return terminal.watch('fetch', open, megabytes);
}

/** A model on its way to the adapter, under a bar; its weights stored as is wanted, or as memory allows. */
export async function loadWatched(
  gpu: Gpu,
  checkpoint: Checkpoint,
  wanted: ModelArguments['weights'],
  editable: readonly number[],
  { terminal, signal }: Omit<Run, 'files'>,
) {
  const weights = chooseStorage(gpu, checkpoint, { wanted, editable, free: process.availableMemory() });
  const options = { storage: weights.storage, editable, signal };
  const load = (onProgress: Progress['update']): Promise<Model> =>
    Model.load(gpu, checkpoint, { ...options, onProgress });
  return { weights, model: await terminal.watch(`load ${checkpoint.id}`, load, megabytes) };
}

/** A promise that cannot be cancelled, left alone when the user wants to stop. */
function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
