/**
 * Facts written batch after batch into the same weights, resumable: `edit --facts`, `sequence --batch`, `evaluate --batch`.
 *
 * A run is replayed, not saved: its journal holds the updates of every batch, and adding them again in order gives the same
 * W, bit for bit, so a run that was killed goes on with the numbers that it would have had. Methods for one fact write one
 * after another: their batches are single facts.
 */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { applyEdits, keepWeights } from '../edit/apply.ts';
import { computeEdits } from '../edit/edit.ts';
import type { Edit, Update } from '../edit/edit.ts';
import { VERDICTS, judge, judgeBatch } from '../edit/guard.ts';
import type { Thresholds, Verdict } from '../edit/guard.ts';
import { writeFacts } from '../edit/mass.ts';
import type { MassEditOptions, PastKeys } from '../edit/mass.ts';
import { MASS_METHODS, METHODS, METHOD_TABLE } from '../edit/method.ts';
import type { MassMethod, Method } from '../edit/method.ts';
import { editRows } from '../edit/rows.ts';
import type { EditRows } from '../edit/rows.ts';
import type { LowRankUpdate } from '../edit/update.ts';
import { contextsOf } from '../edit/writing.ts';
import type { Writing } from '../edit/writing.ts';
import type { TraceRow } from '../edit/value-loss.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { checkFacts, requestOf } from './evaluate.ts';

export interface LayerLine {
  readonly layer: number;
  readonly rank: number;
  readonly update_norm: number;
  /** Over |W| before the batch. */
  readonly relative_update: number;
  /** Part of R that the weight of C leaves undone; null for methods that write all of it. */
  readonly undone: number | null;
}

/** A line of the journal. */
export interface BatchLine {
  /** From 1. */
  readonly batch: number;
  readonly method: Method | MassMethod;
  readonly case_ids: readonly number[];
  /** Of the guard: the worst of its layers. */
  readonly verdict: Verdict;
  /** Between key and u, of a method for one fact. */
  readonly cosine?: number | undefined;
  /** false: a disabling batch was left out, and there are no vectors. */
  readonly kept: boolean;
  readonly layers: readonly LayerLine[];
  /** Of each fact: steps of its search, and the loss it ended with. */
  readonly steps: readonly number[];
  readonly loss: readonly number[];
  readonly seconds: number;
  /** What the vectors of this line are: `u.LAYER`, `lambda.LAYER`, `past.LAYER`, `z`, `K.LAYER`, `R.LAYER`. */
  readonly vectors: readonly string[];
  /** What was asked of the model when the batch was written. */
  readonly measured?: unknown;
}

const NUMBER = v.nullable(v.number());

/** What of a line is relied on; a journal checks it. */
export const BATCH_LINE = v.looseObject({
  batch: v.number(),
  method: v.picklist([...METHODS, ...MASS_METHODS]),
  case_ids: v.array(v.number()),
  verdict: v.picklist(VERDICTS),
  cosine: v.optional(NUMBER),
  kept: v.boolean(),
  layers: v.array(
    v.looseObject({
      layer: v.number(),
      rank: v.number(),
      update_norm: NUMBER,
      relative_update: NUMBER,
      undone: NUMBER,
    }),
  ),
  steps: v.array(v.number()),
  loss: v.array(NUMBER),
  seconds: v.number(),
  vectors: v.array(v.string()),
});

type Vectors = readonly Float32Array<ArrayBuffer>[];

/** Where lines go: a run in a folder, or in memory. */
export interface RunJournal<Head, Line> {
  readonly head: Head | undefined;
  readonly lines: readonly Line[];
  readonly vectors: () => AsyncIterable<Vectors>;
  readonly begin: (head: Head) => Promise<void>;
  readonly append: (line: Line, vectors?: Vectors) => Promise<void>;
}

export interface BatchOptions {
  readonly writing: Writing;
  /** Facts at a time. */
  readonly size: number;
  /** [size, D] z of the first batch, where they are known already. */
  readonly firstZ?: Float32Array<ArrayBuffer> | undefined;
  /** z, K and R are kept in the journal too. */
  readonly keepAll?: boolean | undefined;
  readonly thresholds?: Thresholds | undefined;
  /** `refuse`: a disabling batch is computed, told of, and not kept. Default `warn`. */
  readonly onCollapse?: 'warn' | 'refuse' | undefined;
  /** Asks the model about a batch that was just written, or left out; the answer stands in its line. */
  readonly measure?: ((facts: readonly Fact[], kept: boolean) => Promise<unknown>) | undefined;
  /** Called when a batch is on the disk, also with those that were there. */
  readonly onBatch?: ((line: BatchLine, model: Model) => Promise<void> | void) | undefined;
  /** Facts that have their values, of all. */
  readonly onValues?: ((done: number, total: number) => void) | undefined;
  readonly onPhase?: ((phase: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Facts of each batch, in order. */
export function cutFacts(
  facts: readonly Fact[],
  { writing, size }: Pick<BatchOptions, 'writing' | 'size'>,
): Fact[][] {
  const step = writing.kind === 'single' ? 1 : size;
  return Array.from({ length: Math.ceil(facts.length / step) }, (_, b) =>
    facts.slice(b * step, (b + 1) * step),
  );
}

/**
 * Whether all facts can be written as they are to be, said before anything is computed.
 *
 * @throws UsageError naming the first fact that does not fit the model, or how many facts there is memory for
 */
export async function checkBatches(
  model: Model,
  facts: readonly Fact[],
  options: Pick<BatchOptions, 'writing' | 'size' | 'signal'>,
): Promise<void> {
  const { writing, signal } = options;
  await checkFacts(model, facts, contextsOf(writing), { measure: false, signal });
  if (writing.kind === 'mass') checkMemory(model, writing, cutFacts(facts, options));
}

/**
 * Writes the facts that the journal does not hold yet into the model's weights, where all of them stay.
 *
 * @throws as `checkBatches`, before any is written
 */
export async function writeBatches(
  model: Model,
  facts: readonly Fact[],
  options: BatchOptions,
  journal: Pick<RunJournal<unknown, BatchLine>, 'lines' | 'vectors' | 'append'>,
): Promise<BatchLine[]> {
  const { writing } = options;
  const batches = cutFacts(facts, options);
  await checkBatches(model, facts, options);
  const past: PastKeys = new Map();
  const lines = [...journal.lines];
  let done = 0;
  let read = 0;
  for await (const block of journal.vectors()) {
    const line = lines[read++] as BatchLine;
    for (const { layer, rank } of line.layers) {
      const [U, Lambda] = [vectorOf(line, block, `u.${layer}`), vectorOf(line, block, `lambda.${layer}`)];
      if (U && Lambda) await applyEdits(model, [{ layer, rank, U, Lambda }]);
      const keys = vectorOf(line, block, `past.${layer}`);
      if (keys) past.set(layer, [...(past.get(layer) ?? []), keys]);
    }
    done += line.case_ids.length;
    await options.onBatch?.(line, model);
  }
  for (const batch of batches.slice(lines.length)) {
    options.signal?.throwIfAborted();
    const start = performance.now();
    const before = done;
    const wrote = await writeBatch(model, batch, past, {
      ...options,
      firstZ: lines.length === 0 ? options.firstZ : undefined,
      onValues: (found) => options.onValues?.(before + found, facts.length),
    });
    const seconds = (performance.now() - start) / 1000;
    const { verdict, cosine, kept } = wrote;
    const line: BatchLine = {
      batch: lines.length + 1,
      method: writing.method,
      case_ids: batch.map(({ caseId }) => caseId),
      ...{ verdict, cosine, kept },
      layers: wrote.layers,
      steps: wrote.traces.map(({ length }) => length),
      loss: wrote.traces.map((trace) => trace.at(-1)?.loss ?? NaN),
      seconds,
      vectors: [...wrote.vectors.keys()],
      ...(options.measure && { measured: await options.measure(batch, kept) }),
    };
    await journal.append(line, [...wrote.vectors.values()]);
    lines.push(line);
    done += batch.length;
    options.onValues?.(done, facts.length);
    await options.onBatch?.(line, model);
  }
  return lines;
}

/** A vector of a line's block by its name; undefined where there is none. */
export function vectorOf(
  line: Pick<BatchLine, 'vectors'>,
  block: Vectors,
  name: string,
): Float32Array<ArrayBuffer> | undefined {
  return block[line.vectors.indexOf(name)];
}

interface Wrote extends Pick<BatchLine, 'verdict' | 'cosine' | 'kept'> {
  readonly layers: readonly LayerLine[];
  readonly traces: readonly (readonly TraceRow[])[];
  readonly vectors: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
}

async function writeBatch(
  model: Model,
  facts: readonly Fact[],
  past: PastKeys,
  options: BatchOptions,
): Promise<Wrote> {
  const { writing } = options;
  return writing.kind === 'single'
    ? writeOne(model, facts, writing, options)
    : writeMany(model, facts, past, writing, options);
}

/** Whether a batch stays in the model. */
function isKept(verdict: Verdict, { onCollapse = 'warn' }: BatchOptions): boolean {
  return verdict !== 'disabling' || onCollapse === 'warn';
}

async function writeOne(
  model: Model,
  facts: readonly Fact[],
  { method, edit: settings }: Extract<Writing, { kind: 'single' }>,
  options: BatchOptions,
): Promise<Wrote> {
  const { thresholds, keepAll = false, signal } = options;
  const requests = facts.map(requestOf);
  const [edit] = await computeEdits(model, requests, { ...settings, methods: [method], signal });
  const { trace, updates, vectors: found } = edit as Edit;
  const update = updates.get(method) as Update;
  const { layer, rank, cosine, updateNorm, relativeUpdate } = update;
  const verdict = judge(cosine, relativeUpdate, thresholds);
  const kept = isKept(verdict, options);
  const layers = [
    { layer, rank, update_norm: updateNorm, relative_update: relativeUpdate, undone: null },
  ] as const;
  const wrote = { layers, traces: [trace], verdict, cosine, kept };
  if (!kept) return { ...wrote, vectors: new Map() };
  await applyEdits(model, [update]);
  const vectors = vectorsOf([update]);
  if (keepAll) {
    const { residual } = METHOD_TABLE[method];
    const value = residual === 'mean' ? found.v_mean : found.v_prompt;
    vectors.set('z', found.v_star);
    vectors.set(`K.${layer}`, residual === 'mean' ? found.k_mean : found.k_prompt);
    vectors.set(
      `R.${layer}`,
      found.v_star.map((x, i) => x - (value[i] ?? NaN)),
    );
  }
  return { ...wrote, vectors };
}

async function writeMany(
  model: Model,
  facts: readonly Fact[],
  past: PastKeys,
  writing: Extract<Writing, { kind: 'mass' }>,
  options: BatchOptions,
): Promise<Wrote> {
  const { firstZ: z, thresholds, keepAll = false, onValues, onPhase, signal } = options;
  const rows = facts.map((fact): EditRows =>
    editRows(model.tokenizer, requestOf(fact), contextsOf(writing), model.dims.context),
  );
  const weights = options.onCollapse === 'refuse' ? keepWeights(model, writing.layers) : undefined;
  let isWritten = false;
  try {
    const grown = new Map(past);
    const edit = await writeFacts(model, rows, { ...writing, z, onValues, onPhase, signal }, grown);
    const largest = Math.max(...edit.layers.map(({ relativeUpdate }) => relativeUpdate));
    const verdict = judgeBatch(largest, facts.length, thresholds);
    isWritten = isKept(verdict, options);
    const layers = edit.layers.map(({ layer, rank, updateNorm, relativeUpdate, undone }) => ({
      layer,
      rank,
      update_norm: updateNorm,
      relative_update: relativeUpdate,
      undone,
    }));
    const wrote = { layers, traces: edit.traces, verdict, kept: isWritten };
    if (!isWritten) return { ...wrote, vectors: new Map() };
    for (const [layer, keys] of grown) past.set(layer, keys);
    const vectors = vectorsOf(edit.layers);
    for (const [layer, keys] of edit.kept) vectors.set(`past.${layer}`, keys);
    if (keepAll) {
      vectors.set('z', edit.z);
      for (const { layer, K, R } of edit.layers) vectors.set(`K.${layer}`, K).set(`R.${layer}`, R);
    }
    return { ...wrote, vectors };
  } finally {
    if (isWritten) weights?.drop();
    else weights?.revert();
  }
}

function vectorsOf(updates: readonly LowRankUpdate[]): Map<string, Float32Array<ArrayBuffer>> {
  return new Map(
    updates.flatMap(({ layer, U, Lambda }) => [
      [`u.${layer}`, U] as const,
      [`lambda.${layer}`, Lambda] as const,
    ]),
  );
}

/**
 * Keys of this batch and of all before must lie in one binding, and so must the system of their order.
 *
 * @throws UsageError saying how many facts there is room for
 */
function checkMemory(
  model: Model,
  { method }: Pick<MassEditOptions, 'method'>,
  batches: readonly (readonly Fact[])[],
): void {
  const { gpu, dims } = model;
  const { past, title } = METHOD_TABLE[method];
  const sizes = batches.map(({ length }) => length);
  const most = past === 'none' ? Math.max(...sizes) : sizes.reduce((sum, n) => sum + n, 0);
  const room = Math.floor(Math.min(Math.sqrt(gpu.maxBindingBytes / 4), gpu.maxBindingBytes / (4 * dims.F)));
  if (most <= room) return;
  const kept = past === 'none' ? '' : `, since ${title} keeps the keys of all facts before`;
  throw new UsageError(
    `${title}: expected at most ${room} keys at a time on ${gpu.adapter.description}, ${most} would come together${kept}. ` +
      (past === 'none'
        ? `Give --batch ${room} or less.`
        : 'Write fewer facts, or take memit or emmet, which keep none.'),
    'too_many_keys',
  );
}
