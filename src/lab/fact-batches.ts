/**
 * Facts written batch after batch into the same weights, resumable: `edit --facts`, `sequence --batch`, `evaluate --batch`.
 *
 * A run is replayed, not saved: its journal holds the updates of every batch, and adding them again in order gives the same
 * W, bit for bit, so a run that was killed goes on with the numbers that it would have had. Methods for one fact write one
 * after another: their batches are single facts.
 */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { applyEdits } from '../edit/apply.ts';
import { computeEdits } from '../edit/edit.ts';
import type { Edit, EditSettings } from '../edit/edit.ts';
import { findValues, writeFacts } from '../edit/mass.ts';
import type { MassEditOptions, PastKeys } from '../edit/mass.ts';
import { MASS_METHODS, METHODS, METHOD_TABLE } from '../edit/method.ts';
import type { MassMethod, Method } from '../edit/method.ts';
import { editRows } from '../edit/rows.ts';
import type { EditRows } from '../edit/rows.ts';
import type { LowRankUpdate } from '../edit/update.ts';
import type { TraceRow } from '../edit/value-loss.ts';
import { UsageError } from '../errors.ts';
import { norm } from '../statistics.ts';
import type { Model } from '../models/model.ts';
import { checkFacts, requestOf } from './evaluate.ts';

/** How a batch is written. */
export type Writing =
  | ({ readonly kind: 'mass' } & Omit<MassEditOptions, 'z' | 'onValues' | 'onPhase' | 'signal'>)
  | { readonly kind: 'single'; readonly method: Method; readonly edit: EditSettings };

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
  /** Asks the model about a batch that was just written; the answer stands in its line. */
  readonly measure?: ((facts: readonly Fact[], batch: number) => Promise<unknown>) | undefined;
  /** Called when a batch is on the disk, also with those that were there. */
  readonly onBatch?: ((line: BatchLine, model: Model) => Promise<void> | void) | undefined;
  /** Facts that have their values, of all. */
  readonly onValues?: ((done: number, total: number) => void) | undefined;
  readonly onPhase?: ((phase: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Flat contexts of a way to write. */
export function contextsOf(writing: Writing): readonly string[] {
  return writing.kind === 'mass' ? writing.contexts.flat() : writing.edit.contexts;
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
 * Writes the facts that the journal does not hold yet into the model's weights, where all of them stay.
 *
 * @throws UsageError naming the first fact that does not fit the model, before any is written
 */
export async function writeBatches(
  model: Model,
  facts: readonly Fact[],
  options: BatchOptions,
  journal: Pick<RunJournal<unknown, BatchLine>, 'lines' | 'vectors' | 'append'>,
): Promise<BatchLine[]> {
  const { writing } = options;
  const batches = cutFacts(facts, options);
  await checkFacts(model, facts, contextsOf(writing), { measure: false, signal: options.signal });
  if (writing.kind === 'mass') checkMemory(model, writing, batches);
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
    const line: BatchLine = {
      batch: lines.length + 1,
      method: writing.method,
      case_ids: batch.map(({ caseId }) => caseId),
      layers: wrote.layers,
      steps: wrote.traces.map(({ length }) => length),
      loss: wrote.traces.map((trace) => trace.at(-1)?.loss ?? NaN),
      seconds,
      vectors: [...wrote.vectors.keys()],
      ...(options.measure && { measured: await options.measure(batch, lines.length + 1) }),
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
  line: BatchLine,
  block: Vectors,
  name: string,
): Float32Array<ArrayBuffer> | undefined {
  return block[line.vectors.indexOf(name)];
}

interface Wrote {
  readonly layers: LayerLine[];
  readonly traces: readonly (readonly TraceRow[])[];
  readonly vectors: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
}

async function writeBatch(
  model: Model,
  facts: readonly Fact[],
  past: PastKeys,
  { writing, firstZ: z, keepAll = false, onValues, onPhase, signal }: BatchOptions,
): Promise<Wrote> {
  const vectors = new Map<string, Float32Array<ArrayBuffer>>();
  const keep = ({ layer, U, Lambda }: LowRankUpdate): void => {
    vectors.set(`u.${layer}`, U);
    vectors.set(`lambda.${layer}`, Lambda);
  };
  if (writing.kind === 'single') {
    const { method, edit: settings } = writing;
    const [edit] = await computeEdits(model, facts.map(requestOf), {
      ...settings,
      methods: [method],
      signal,
    });
    const { trace, updates, vectors: found } = edit as Edit;
    const layers = [...updates.values()].map((update): LayerLine => {
      keep(update);
      if (keepAll) {
        const row = METHOD_TABLE[method];
        vectors.set('z', found.v_star);
        vectors.set(`K.${update.layer}`, row.residual === 'mean' ? found.k_mean : found.k_prompt);
        const value = row.residual === 'mean' ? found.v_mean : found.v_prompt;
        vectors.set(
          `R.${update.layer}`,
          found.v_star.map((x, i) => x - (value[i] ?? NaN)),
        );
      }
      const { layer, rank, updateNorm, relativeUpdate } = update;
      return { layer, rank, update_norm: updateNorm, relative_update: relativeUpdate, undone: null };
    });
    await applyEdits(model, [...updates.values()]);
    return { layers, traces: [trace], vectors };
  }
  const rows = facts.map((fact): EditRows =>
    editRows(model.tokenizer, requestOf(fact), contextsOf(writing), model.dims.context),
  );
  const edit = await writeFacts(model, rows, { ...writing, z, onValues, onPhase, signal }, past);
  for (const update of edit.layers) keep(update);
  for (const [layer, keys] of edit.kept) vectors.set(`past.${layer}`, keys);
  if (keepAll) {
    vectors.set('z', edit.z);
    for (const { layer, K, R } of edit.layers) vectors.set(`K.${layer}`, K).set(`R.${layer}`, R);
  }
  const layers = edit.layers.map(({ layer, rank, updateNorm, relativeUpdate, undone }) => ({
    layer,
    rank,
    update_norm: updateNorm,
    relative_update: relativeUpdate,
    undone,
  }));
  return { layers, traces: edit.traces, vectors };
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

/** Facts whose values give the length of norm anchoring, at most. */
const MOST_ANCHORS = 1000;
/** Of the lengths that an anchor is the mean of, the longest are left out. */
const LONGEST = 0.05;

/** The mean length of the first rows [n, D], the longest twentieth left out. */
export function anchorOf(rows: Float32Array, D: number, most: number): number {
  const n = Math.min(most, rows.length / D);
  const lengths = Array.from({ length: n }, (_, i) => norm(rows.subarray(i * D, (i + 1) * D))).sort(
    (a, b) => a - b,
  );
  const kept = lengths.slice(0, Math.max(1, Math.ceil(n * (1 - LONGEST))));
  return kept.reduce((sum, length) => sum + length, 0) / kept.length;
}

/**
 * The length that norm anchoring gives every value: that of v* of the facts on the model as it is, on average.
 *
 * @see NAS, arXiv 2602.02543: the mean over 1,000 edits of the unedited model, the longest 5 % left out
 */
export async function measureAnchor(
  model: Model,
  writing: Writing,
  facts: readonly Fact[],
  signal?: AbortSignal,
): Promise<number> {
  const some = facts.slice(0, MOST_ANCHORS);
  const { D } = model.dims;
  if (writing.kind === 'mass') {
    const rows = some.map((fact) =>
      editRows(model.tokenizer, requestOf(fact), contextsOf(writing), model.dims.context),
    );
    return anchorOf(await findValues(model, rows, { ...writing, signal }), D, some.length);
  }
  const edits = await computeEdits(model, some.map(requestOf), {
    ...writing.edit,
    methods: [writing.method],
    signal,
  });
  return anchorOf(Float32Array.from(edits.flatMap(({ vectors }) => [...vectors.v_star])), D, some.length);
}

/** The same writing with every value at that length. */
export function anchoredAt(writing: Writing, anchorNorm: number | undefined): Writing {
  if (anchorNorm === undefined) return writing;
  return writing.kind === 'mass'
    ? { ...writing, value: { ...writing.value, anchorNorm } }
    : { ...writing, edit: { ...writing.edit, anchorNorm } };
}
