/** Edit files on a disk: of one edit, and of the facts of a whole run. */
import type { Edit, Update } from '../edit/edit.ts';
import { factsMetadata, factsTensors } from '../edit/facts-record.ts';
import type { FactsBatch, FactsCircumstances } from '../edit/facts-record.ts';
import { readRecord, recordMetadata, recordTensors, type EditRecord } from '../edit/record.ts';
import { UsageError } from '../errors.ts';
import { sealed } from '../formats/checksum.ts';
import type { Model } from '../models/model.ts';
import { writeSafetensors } from './atomic.ts';
import { openSafetensors, versions } from './file.ts';

/** The name of an edit of many in the folder `edits`. @param number from 1 */
export function editFileName(number: number): string {
  return `${String(number).padStart(4, '0')}.safetensors`;
}

/** @throws UsageError naming the file and what is wrong with it */
export async function readEdit(file: string): Promise<EditRecord> {
  return readRecord(await openSafetensors(file, UsageError));
}

/** Writes the facts of a whole run, batch by batch; the file is there whole or not at all. */
export async function writeFactsEdit(
  file: string,
  model: Model,
  batches: readonly FactsBatch[],
  circumstances: Omit<FactsCircumstances, 'versions'>,
): Promise<void> {
  const tensors = factsTensors(batches);
  const { id, sha256, storage, gpu } = model;
  const tensorOf = (layer: number): string => model.editedWeight(layer).name;
  const about = { id, sha256, storage, tensorOf, adapter: gpu.adapter.description };
  const metadata = factsMetadata(about, batches, { ...circumstances, versions: versions() });
  await writeSafetensors(file, tensors, { metadata: await sealed(metadata, tensors) });
}

export interface EditToWrite {
  readonly model: Model;
  readonly edit: Edit;
  /** The one of the edit's updates that goes into the file. */
  readonly update: Update;
  /** `key` of the solver that the edit was computed with. */
  readonly covariance: string;
  /** Seed that the contexts were sampled with; absent when they were handed in. */
  readonly seed?: number | undefined;
  /** Ids of the edits that were in the model already, in order. Default none. */
  readonly earlier?: readonly string[];
}

/** Writes one update of an edit, with all that it takes to replay it; the file is there whole or not at all. */
export async function writeEdit(
  file: string,
  { model, edit, update, covariance, seed, earlier = [] }: EditToWrite,
): Promise<void> {
  const circumstances = { covariance, seed, earlier, versions: versions() };
  const tensors = recordTensors(update);
  const metadata = await sealed(recordMetadata(model, edit, update, circumstances), tensors);
  await writeSafetensors(file, tensors, { metadata });
}
