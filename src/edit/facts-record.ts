/**
 * The edit file of many facts: for each layer `u` [F, r] and `lambda` [r, D] of all batches side by side, named `u.LAYER`
 * where there are several; facts, batches and options as text. It is read back batch by batch and added in that order, so
 * that the model is that of the run, bit for bit.
 *
 * A batch was solved as one: what a fact has of it cannot be told apart from the others. So a batch comes out whole, and a
 * single fact only where it is a batch of its own, as with the methods for one fact.
 */
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import { jsonFrom } from '../json.ts';
import { MASS_METHODS, METHODS } from './method.ts';
import type { MassMethod, Method } from './method.ts';
import { RECORD_SCHEMA, checkRecord, parseRequest, readPair, verify } from './record.ts';
import type { Circumstances, EditRecord, RecordFile } from './record.ts';
import type { LowRankUpdate } from './update.ts';

/** Facts of one batch and what it added to each layer, in the order of the layers. */
export interface FactsBatch {
  readonly requests: readonly EditRecord['request'][];
  readonly updates: readonly LowRankUpdate[];
}

export interface FactsRecord extends Pick<EditRecord, 'model' | 'verified' | 'metadata'> {
  readonly method: Method | MassMethod;
  readonly layers: readonly number[];
  /** The Hugging Face names of W, layer by layer. */
  readonly tensors: readonly string[];
  readonly batches: readonly FactsBatch[];
}

/** What a file of many facts says of itself beside them. */
export interface FactsCircumstances extends Omit<Circumstances, 'covariance'> {
  readonly method: Method | MassMethod;
  /** Which C of each layer. */
  readonly covariances: Readonly<Record<string, string>>;
  /** All that decided what was written. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export function isFactsRecord(record: EditRecord | FactsRecord): record is FactsRecord {
  return 'batches' in record;
}

/** All changes of W that a file holds, in the order in which they were made. */
export function updatesOf(record: EditRecord | FactsRecord): readonly LowRankUpdate[] {
  return isFactsRecord(record) ? record.batches.flatMap(({ updates }) => updates) : [record];
}

/** The facts of a file. */
export function requestsOf(record: EditRecord | FactsRecord): readonly EditRecord['request'][] {
  return isFactsRecord(record) ? record.batches.flatMap(({ requests }) => requests) : [record.request];
}

/** Layer and name of every W that a file changes. */
export function targetsOf(record: EditRecord | FactsRecord): readonly { layer: number; tensor: string }[] {
  if (!isFactsRecord(record)) return [record];
  return record.layers.map((layer, i) => ({ layer, tensor: record.tensors[i] ?? '' }));
}

/** What a file adds to the W of one name, in order. */
export function changesOf(record: EditRecord | FactsRecord, tensor: string): readonly LowRankUpdate[] {
  const layers = targetsOf(record).flatMap((target) => (target.tensor === tensor ? [target.layer] : []));
  return updatesOf(record).filter(({ layer }) => layers.includes(layer));
}

/**
 * Checks that a file belongs to a model.
 *
 * @throws UsageError as `checkRecord`
 */
export function checkAnyRecord(
  record: EditRecord | FactsRecord,
  name: string,
  model: Parameters<typeof checkRecord>[2],
): void {
  if (!isFactsRecord(record)) return checkRecord(record, name, model);
  for (const { updates } of record.batches)
    for (const update of updates) {
      const tensor = record.tensors[record.layers.indexOf(update.layer)] ?? '';
      checkRecord({ ...update, model: record.model, tensor }, name, model);
    }
}

/** The layers that any of the batches changes, ascending. */
function layersOf(batches: readonly FactsBatch[]): number[] {
  const layers = batches.flatMap(({ updates }) => updates.map(({ layer }) => layer));
  return [...new Set(layers)].sort((a, b) => a - b);
}

export function factsTensors(batches: readonly FactsBatch[]): TensorToWrite[] {
  const layers = layersOf(batches);
  return layers.flatMap((layer) => {
    const parts = batches.flatMap(({ updates }) => updates.filter((update) => update.layer === layer));
    const rank = parts.reduce((sum, part) => sum + part.rank, 0);
    const F = (parts[0]?.U.length ?? 0) / (parts[0]?.rank ?? 1);
    const D = (parts[0]?.Lambda.length ?? 0) / (parts[0]?.rank ?? 1);
    const U = new Float32Array(F * rank);
    const Lambda = new Float32Array(rank * D);
    let from = 0;
    for (const part of parts) {
      for (let f = 0; f < F; f += 1)
        U.set(part.U.subarray(f * part.rank, (f + 1) * part.rank), f * rank + from);
      Lambda.set(part.Lambda, from * D);
      from += part.rank;
    }
    const end = layers.length === 1 ? '' : `.${layer}`;
    return [
      { name: `u${end}`, dtype: 'F32' as const, shape: [F, rank], data: bytesOf(U) },
      { name: `lambda${end}`, dtype: 'F32' as const, shape: [rank, D], data: bytesOf(Lambda) },
    ];
  });
}

/** What the metadata need of a model. */
export interface FactsModel {
  readonly id: string;
  readonly sha256: string;
  /** The Hugging Face name of the W of a layer. */
  readonly tensorOf: (layer: number) => string;
  /** Adapter and storage that the numbers were computed with. */
  readonly adapter: string;
  readonly storage: string;
}

export function factsMetadata(
  model: FactsModel,
  batches: readonly FactsBatch[],
  { method, covariances, settings, seed, earlier, versions }: FactsCircumstances,
): Record<string, string> {
  const json = JSON.stringify;
  const layers = layersOf(batches);
  const rankOf = ({ updates }: FactsBatch, layer: number): number =>
    updates.find((update) => update.layer === layer)?.rank ?? 0;
  return {
    schema: RECORD_SCHEMA,
    model: model.id,
    model_sha256: model.sha256,
    method,
    layers: json(layers),
    tensors: json(layers.map(model.tensorOf)),
    requests: json(
      batches.flatMap(({ requests }) =>
        requests.map(({ prompt, subject, target, targetIds }) => ({
          prompt,
          subject,
          target,
          target_ids: targetIds,
        })),
      ),
    ),
    batches: json(batches.map(({ requests }) => requests.length)),
    ranks: json(batches.map((batch) => layers.map((layer) => rankOf(batch, layer)))),
    settings: json(settings),
    seed: seed === undefined ? 'none' : String(seed),
    covariance: json(covariances),
    earlier: json(earlier),
    adapter: model.adapter,
    weights: model.storage,
    versions: json(versions),
  };
}

/** Whether a file says that it holds many facts. */
export function holdsFacts({ metadata }: Pick<RecordFile, 'metadata'>): boolean {
  return metadata['requests'] !== undefined;
}

/**
 * Reads an edit file of many facts.
 *
 * @throws UsageError naming the file, the field or tensor, what was expected and what came
 */
export async function readFactsRecord(file: RecordFile): Promise<FactsRecord> {
  const fault = (what: string): UsageError =>
    new UsageError(
      `edit file ${file.name}: ${what}. Write it again with palimpsest edit --facts --out.`,
      'bad_edit_file',
    );
  const field = (name: string): string => {
    const value = file.metadata[name];
    if (value === undefined) throw fault(`expected "${name}" in its metadata, there is none`);
    return value;
  };
  const list = (name: string): unknown[] => {
    const found = jsonFrom(field(name), (other) => fault(`${name}: expected a JSON array, found ${other}`));
    if (!Array.isArray(found)) throw fault(`${name}: expected a JSON array`);
    return found;
  };
  const counts = (name: string, values: readonly unknown[]): number[] =>
    values.map((value) => {
      if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
      throw fault(`${name}: expected whole numbers, found ${JSON.stringify(value)}`);
    });
  if (field('schema') !== RECORD_SCHEMA) throw fault(`expected schema "${RECORD_SCHEMA}" in its metadata`);
  field('checksum');
  const sha256 = field('model_sha256');
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw fault('model_sha256: expected 64 hexadecimal digits');
  const method = [...METHODS, ...MASS_METHODS].find((known) => known === field('method'));
  if (!method) throw fault(`method: expected ${[...METHODS, ...MASS_METHODS].join(', ')}`);
  const layers = counts('layers', list('layers'));
  const tensors = list('tensors').map(String);
  const sizes = counts('batches', list('batches'));
  const ranks = list('ranks').map((row) => counts('ranks', Array.isArray(row) ? row : [row]));
  const requests = list('requests').map((value) => {
    const request = parseRequest(value);
    if (!request) throw fault('requests: expected prompt, subject, target and target_ids of each');
    return request;
  });
  const facts = sizes.reduce((sum, n) => sum + n, 0);
  if (
    layers.length === 0 ||
    tensors.length !== layers.length ||
    facts !== requests.length ||
    ranks.length !== sizes.length ||
    ranks.some((row) => row.length !== layers.length)
  )
    throw fault('layers, tensors, batches, ranks and requests do not fit together');
  const whole = new Map<number, LowRankUpdate>();
  for (const layer of layers) {
    const end = layers.length === 1 ? '' : `.${layer}`;
    const { u, lambda, rank } = await readPair(file, [`u${end}`, `lambda${end}`], fault);
    whole.set(layer, { layer, U: u, Lambda: lambda, rank });
  }
  let first = 0;
  const starts = layers.map(() => 0);
  const batches = sizes.map((size, b): FactsBatch => {
    const updates = layers.flatMap((layer, i) => {
      const rank = ranks[b]?.[i] ?? 0;
      const from = starts[i] ?? 0;
      starts[i] = from + rank;
      return rank === 0 ? [] : [columns(whole.get(layer) as LowRankUpdate, from, rank)];
    });
    first += size;
    return { requests: requests.slice(first - size, first), updates };
  });
  layers.forEach((layer, i) => {
    if (starts[i] !== whole.get(layer)?.rank)
      throw fault(`ranks: expected ${whole.get(layer)?.rank} in all for layer ${layer}, found ${starts[i]}`);
  });
  const model = { id: field('model'), sha256 };
  const verified = await verify(file, fault);
  return { model, method, layers, tensors, batches, verified, metadata: file.metadata };
}

/** Columns `from` to `from + rank` of U, and the same rows of Λ. */
function columns(all: LowRankUpdate, from: number, rank: number): LowRankUpdate {
  const [F, D] = [all.U.length / all.rank, all.Lambda.length / all.rank];
  if (from + rank > all.rank) return { ...all, rank: 0, U: new Float32Array(0), Lambda: new Float32Array(0) };
  const U = new Float32Array(F * rank);
  for (let f = 0; f < F; f += 1)
    U.set(all.U.subarray(f * all.rank + from, f * all.rank + from + rank), f * rank);
  return { layer: all.layer, rank, U, Lambda: all.Lambda.slice(from * D, (from + rank) * D) };
}
