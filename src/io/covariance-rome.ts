/** ROME's `.npz` statistics in and out. */
import { basename } from 'node:path';
import { packSymmetric, unpackSymmetric } from '../edit/panels.ts';
import { UsageError } from '../errors.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import type { WriteOptions } from './atomic.ts';
import { modelName } from './covariance-build.ts';
import { type CovarianceFacts, covarianceKey } from './covariance-facts.ts';
import { faultOf, openCovariance, readMatrices, writeCovariance } from './covariance-file.ts';
import { readRomeStatistics, writeRomeStatistics } from './rome-statistics.ts';
import { sha256File } from './file.ts';
import { tokenizerHash, weightsHash } from './weights-hash.ts';

export interface ImportedFile {
  readonly path: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
}

/**
 * Turns ROME's statistics into a covariance file. The archive does not say which model and layer it is of: the caller does.
 *
 * @param out where to, given the facts
 * @throws UsageError when the archive is damaged, or of another size than the model's keys
 */
export async function importRome(
  npz: string,
  checkpoint: Checkpoint,
  layer: number,
  out: (facts: CovarianceFacts) => string,
  options: WriteOptions = {},
): Promise<ImportedFile> {
  const { covariance, size, tokens, documents } = await readRomeStatistics(npz);
  const { F, context } = checkpoint.architecture.dims;
  if (size !== F) {
    throw new UsageError(
      `covariance import ${npz}: expected statistics of order ${F}, the width of the keys of ${checkpoint.id}, they are of order ${size}. Give the model they were computed with.`,
      'wrong_covariance',
    );
  }
  const facts: CovarianceFacts = {
    model: modelName(checkpoint.id),
    modelSha256: await checkpoint.sha256(),
    weights: await weightsHash(checkpoint, layer, options.signal),
    storage: 'f32',
    tokenizer: tokenizerHash(checkpoint),
    layer,
    size,
    corpusName: basename(npz),
    corpus: await sha256File(npz),
    context,
    tokens,
    documents,
    cut: 0,
    empty: 0,
    invalid: 0,
  };
  const path = out(facts);
  await writeCovariance(path, facts, { C: packSymmetric(covariance, size) }, options);
  return { path, key: covarianceKey(facts), facts };
}

/**
 * Writes a covariance as ROME's loaders read it.
 *
 * @throws ModelError when the file is damaged or a part
 */
export async function exportRome(
  path: string,
  npz: string,
  options: WriteOptions = {},
): Promise<CovarianceFacts> {
  const file = await openCovariance(path);
  const { facts } = file;
  if (facts.shards)
    throw faultOf(path)('expected the covariance of a whole corpus, it is a part. Merge all parts first');
  const { C } = await readMatrices(file);
  const { size, tokens, documents } = facts;
  const covariance = unpackSymmetric(C as Float32Array, size);
  await writeRomeStatistics(npz, { covariance, size, tokens, documents }, options);
  return facts;
}
