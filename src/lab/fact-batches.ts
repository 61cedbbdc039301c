/**
 * Facts written batch after batch into the same weights, resumable: `edit --facts`, `sequence --batch`, `evaluate --batch`.
 *
 * Methods for one fact write one after another: their batches are single facts.
 */
import type { Fact } from '../data/fact.ts';
import { applyEdits, keepWeights } from '../edit/apply.ts';
import type { Update } from '../edit/edit.ts';
import { judgeBatch, type Thresholds, type Verdict } from '../edit/guard.ts';
import { writeFacts, type LayerUpdate, type PastKeys } from '../edit/mass.ts';
import { METHOD_TABLE } from '../edit/method.ts';
import { editRows, type EditRows } from '../edit/rows.ts';
import { contextsOf, type Writing } from '../edit/writing.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../models/model.ts';
import { checkFacts, editFacts, requestOf, type Edited } from './evaluate.ts';
import { vectorOf, type BatchLine, type RunJournal } from './run-journal.ts';

export interface BatchOptions {
  readonly writing: Writing;
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

function cutFacts(facts: readonly Fact[], { writing, size }: Pick<BatchOptions, 'writing' | 'size'>) {
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
): Promise<readonly BatchLine[]> {
  const { writing } = options;
  const batches = cutFacts(facts, options);
  await checkBatches(model, facts, options);
  const past: PastKeys = new Map();
  const { lines } = journal;
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
    const onValues = (found: number): void => options.onValues?.(before + found, facts.length);
    const firstZ = lines.length === 0 ? options.firstZ : undefined;
    const { traces, vectors, ...wrote } =
      writing.kind === 'single'
        ? await writeOne(model, batch, writing, options)
        : await writeMany(model, batch, past, writing, { ...options, firstZ, onValues });
    const line: BatchLine = {
      batch: lines.length + 1,
      method: writing.method,
      case_ids: batch.map(({ caseId }) => caseId),
      ...wrote,
      steps: traces.map(({ length }) => length),
      loss: traces.map((trace) => trace.at(-1)?.loss ?? NaN),
      seconds: (performance.now() - start) / 1000,
      vectors: [...vectors.keys()],
      ...(options.measure && { measured: await options.measure(batch, wrote.kept) }),
    };
    await journal.append(line, [...vectors.values()]);
    done += batch.length;
    options.onValues?.(done, facts.length);
    await options.onBatch?.(line, model);
  }
  return lines;
}

/** Facts as a way to write them reads them: in all of its contexts. */
export function rowsOf({ tokenizer, dims }: Model, facts: readonly Fact[], writing: Writing): EditRows[] {
  return facts.map((fact) => editRows(tokenizer, requestOf(fact), contextsOf(writing), dims));
}

function isKept(verdict: Verdict, { onCollapse = 'warn' }: BatchOptions): boolean {
  return verdict !== 'disabling' || onCollapse === 'warn';
}

/** @returns what became of the batch: for its line, and the vectors by name; none of one that was left out */
async function writeOne(
  model: Model,
  facts: readonly Fact[],
  { method, edit }: Extract<Writing, { kind: 'single' }>,
  options: BatchOptions,
) {
  const [edited] = await editFacts(model, facts, [method], { ...options, edit });
  const { trace, vectors: found } = (edited as Edited).edit;
  const [update] = (edited as Edited).updates as [Update];
  const { layer, verdict, cosine } = update;
  const kept = isKept(verdict, options);
  const wrote = { verdict, cosine, kept, layers: [layerLine(update, null)], traces: [trace] };
  if (!kept) return { ...wrote, vectors: vectorsOf([]) };
  await applyEdits(model, [update]);
  const vectors = vectorsOf([update]);
  if (options.keepAll) {
    const isMean = METHOD_TABLE[method].residual === 'mean';
    const value = isMean ? found.v_mean : found.v_prompt;
    const R = found.v_star.map((x, i) => x - (value[i] ?? NaN));
    vectors.set('z', found.v_star);
    vectors.set(`K.${layer}`, isMean ? found.k_mean : found.k_prompt).set(`R.${layer}`, R);
  }
  return { ...wrote, vectors };
}

async function writeMany(
  model: Model,
  facts: readonly Fact[],
  past: PastKeys,
  writing: Extract<Writing, { kind: 'mass' }>,
  options: BatchOptions,
) {
  const { firstZ: z, thresholds, keepAll = false, onValues, onPhase, signal } = options;
  const weights = options.onCollapse === 'refuse' ? keepWeights(model, writing.layers) : undefined;
  let kept = false;
  try {
    const grown = new Map(past);
    const rows = rowsOf(model, facts, writing);
    const edit = await writeFacts(model, rows, { ...writing, z, onValues, onPhase, signal }, grown);
    const largest = Math.max(...edit.layers.map(({ relativeUpdate }) => relativeUpdate));
    const verdict = judgeBatch(largest, facts.length, thresholds);
    kept = isKept(verdict, options);
    const layers = edit.layers.map((update) => layerLine(update, update.undone));
    const wrote = { verdict, kept, layers, traces: edit.traces };
    if (!kept) return { ...wrote, vectors: vectorsOf([]) };
    for (const [layer, keys] of grown) past.set(layer, keys);
    const vectors = vectorsOf(edit.layers);
    for (const [layer, keys] of edit.kept) vectors.set(`past.${layer}`, keys);
    if (keepAll) {
      vectors.set('z', edit.z);
      for (const { layer, K, R } of edit.layers) vectors.set(`K.${layer}`, K).set(`R.${layer}`, R);
    }
    return { ...wrote, vectors };
  } finally {
    if (kept) weights?.drop();
    else weights?.revert();
  }
}

function layerLine(update: Update | LayerUpdate, undone: number | null): BatchLine['layers'][number] {
  const { layer, rank, updateNorm, relativeUpdate } = update;
  return { layer, rank, update_norm: updateNorm, relative_update: relativeUpdate, undone };
}

function vectorsOf(updates: readonly Pick<LayerUpdate, 'layer' | 'U' | 'Lambda'>[]) {
  const vectors = new Map<string, Float32Array<ArrayBuffer>>();
  for (const { layer, U, Lambda } of updates) vectors.set(`u.${layer}`, U).set(`lambda.${layer}`, Lambda);
  return vectors;
}

/**
 * Keys of this batch and of all before must lie in one binding, and so must the system of their order.
 *
 * @throws UsageError saying how many facts there is room for
 */
function checkMemory(
  model: Model,
  { method }: Extract<Writing, { kind: 'mass' }>,
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
