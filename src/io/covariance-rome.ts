/** ROME's `.npz` statistics in and out. */
import { basename } from 'node:path';
import { packSymmetric, unpackSymmetric } from '../edit/panels.ts';
import { UsageError } from '../errors.ts';
import { readC } from '../formats/covariance-file.ts';
import type { CovarianceFacts } from '../formats/covariance-identity.ts';
import { npzFault } from '../formats/npz.ts';
import { readRomeStatistics, romeStatisticsBytes } from '../formats/rome-statistics.ts';
import type { Checkpoint } from '../models/checkpoint.ts';
import { writeAtomic, type WriteOptions } from './atomic.ts';
import { type BuiltFile, modelName, openCovariance, writeCovariance } from './covariance-files.ts';
import { openSource, sha256File } from './file.ts';
import { tokenizerHash, weightsHash } from './model-folder.ts';

/**
 * Turns ROME's statistics into a covariance file.
 *
 * An archive of our own says which layer and weights it is of, one of ROME's has the layer in its name.
 *
 * @param layer the one they are of; undefined: as the archive or its name says
 * @param out   where to; undefined: the cache
 * @throws UsageError when the archive is damaged, of another size than the model's keys, of another layer or of other
 *   weights than it should be, or when nothing says which layer it is of
 */
export async function importRome(
  npz: string,
  checkpoint: Checkpoint,
  options: WriteOptions & { readonly layer?: number | undefined; readonly out?: string | undefined } = {},
): Promise<BuiltFile> {
  const { layer: wanted, out, signal } = options;
  const source = await openSource(npz, npzFault(npz));
  const fault = (what: string): UsageError =>
    new UsageError(`covariance import ${npz}: ${what}`, 'wrong_covariance');
  const { F, context, layers } = checkpoint.architecture.dims;
  const checkOrder = (size: number): void => {
    if (size !== F)
      throw fault(
        `expected statistics of order ${F}, the width of the keys of ${checkpoint.id}, they are of order ${size}. Give the model they were computed with.`,
      );
  };
  const { covariance, size, tokens, documents, origin } = await readRomeStatistics(source, {
    checkOrder,
    signal,
  });
  if (origin && wanted !== undefined && origin.layer !== wanted)
    throw fault(
      `expected statistics of layer ${wanted}, they are of layer ${origin.layer}. Correct --layer.`,
    );
  const layer = wanted ?? origin?.layer;
  if (layer === undefined)
    throw fault('neither the archive nor its name says which layer it is of. Say it with --layer.');
  if (layer >= layers)
    throw fault(
      `expected one of the layers 0 to ${layers - 1} of ${checkpoint.id}, they are of layer ${layer}. Correct --layer, or give the model they were computed with.`,
    );
  const weights = await weightsHash(checkpoint, layer, signal);
  if (origin?.weights !== undefined && origin.weights !== weights)
    throw fault(
      `expected statistics of ${checkpoint.id} (weights ${weights.slice(0, 12)}), they are of another model (${origin.weights.slice(0, 12)}). Give that one with --model.`,
    );
  const facts: CovarianceFacts = {
    model: modelName(checkpoint.id),
    modelSha256: await checkpoint.sha256(),
    weights,
    storage: 'f32',
    tokenizer: tokenizerHash(checkpoint),
    layer,
    size,
    corpusName: basename(npz),
    corpus: await sha256File(npz),
    wanted: undefined,
    context,
    shards: undefined,
    tokens,
    documents,
    cut: 0,
    empty: 0,
    invalid: 0,
  };
  return writeCovariance(facts, { C: packSymmetric(covariance, size) }, { out, signal });
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
  const { size, tokens, documents, layer, weights } = file.facts;
  const covariance = unpackSymmetric(await readC(file), size);
  const origin = { layer, weights };
  await writeAtomic(npz, romeStatisticsBytes({ covariance, size, tokens, documents, origin }), options);
  return file.facts;
}
