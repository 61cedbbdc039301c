/**
 * The edit file of many facts: for each layer `u` [F, r] and `lambda` [r, D] of all batches side by side, named `u.LAYER`
 * where there are several; facts, batches and options as text. It is read back batch by batch and added in that order, so
 * that the model is that of the run, bit for bit.
 *
 * A batch was solved as one: what a fact has of it cannot be told apart from the others. So a batch comes out whole, and a
 * single fact only where it is a batch of its own, as with the methods for one fact.
 */
import type { TensorToWrite } from '../formats/safetensors.ts';
import { jsonFrom } from '../json.ts';
import { startsOf } from '../models/batch.ts';
import { type MassMethod, type Method, MASS_METHODS, METHODS } from './method.ts';
import {
  RECORD_SCHEMA,
  commonMetadata,
  pairTensors,
  parseRequest,
  readFields,
  requestFields,
} from './record-fields.ts';
import type { Circumstances, RecordFile, RecordModel, RecordedRequest } from './record-fields.ts';
import { type EditRecord, checkRecord } from './record.ts';
import { type LowRankUpdate, joined, ranksOf } from './update.ts';

/** Facts of one batch and what it added to each layer, in the order of the layers. */
export interface FactsBatch {
  readonly requests: readonly RecordedRequest[];
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
export function requestsOf(record: EditRecord | FactsRecord): readonly RecordedRequest[] {
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

/** What the names of a layer's tensors end with. */
function endOf(layers: readonly number[], layer: number): string {
  return layers.length === 1 ? '' : `.${layer}`;
}

export function factsTensors(batches: readonly FactsBatch[]): TensorToWrite[] {
  const all = batches.flatMap(({ updates }) => updates);
  return layersOf(batches).flatMap((layer, _, layers) =>
    pairTensors(joined(all.filter((update) => update.layer === layer)), endOf(layers, layer)),
  );
}

/** What the metadata need of a model. */
export interface FactsModel extends RecordModel {
  /** The Hugging Face name of the W of a layer. */
  readonly tensorOf: (layer: number) => string;
}

export function factsMetadata(
  model: FactsModel,
  batches: readonly FactsBatch[],
  { method, covariances, settings, ...circumstances }: FactsCircumstances,
): Record<string, string> {
  const json = JSON.stringify;
  const layers = layersOf(batches);
  const rankOf = ({ updates }: FactsBatch, layer: number): number =>
    updates.find((update) => update.layer === layer)?.rank ?? 0;
  return {
    ...commonMetadata(model, method, circumstances),
    layers: json(layers),
    tensors: json(layers.map(model.tensorOf)),
    requests: json(batches.flatMap(({ requests }) => requests.map(requestFields))),
    batches: json(batches.map(({ requests }) => requests.length)),
    ranks: json(batches.map((batch) => layers.map((layer) => rankOf(batch, layer)))),
    settings: json(settings),
    covariance: json(covariances),
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
  const known = { schemas: [RECORD_SCHEMA], methods: [...METHODS, ...MASS_METHODS] };
  const { model, method, field, fault, ...fields } = readFields(file, 'palimpsest edit --facts --out', known);
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
  /** By batch, what it added to each of the layers before. */
  const updates: LowRankUpdate[][] = sizes.map(() => []);
  for (const [i, layer] of layers.entries()) {
    const whole = { layer, ...(await fields.pair(endOf(layers, layer))) };
    const starts = startsOf(ranks.map((row) => row[i] ?? 0));
    if (starts.at(-1) !== whole.rank)
      throw fault(`ranks: expected ${whole.rank} in all for layer ${layer}, found ${starts.at(-1)}`);
    for (const [b, row] of ranks.entries())
      if (row[i]) updates[b]?.push(ranksOf(whole, starts[b] ?? 0, row[i]));
  }
  const firsts = startsOf(sizes);
  const batches = updates.map((own, b) => ({
    requests: requests.slice(firsts[b], firsts[b + 1]),
    updates: own,
  }));
  const verified = await fields.verify();
  return { model, method, layers, tensors, batches, verified, metadata: file.metadata };
}
