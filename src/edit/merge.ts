/** Several edit files as one: their updates side by side, batch after batch, so that the model is that of all of them, bit for bit. */
import { UsageError } from '../errors.ts';
import { jsonIfAny } from '../json.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import { factsMetadata, factsTensors, isFactsRecord, targetsOf, updatesOf } from './facts-record.ts';
import type { FactsBatch, FactsRecord } from './facts-record.ts';
import type { EditRecord } from './record.ts';

/** An edit with what its file is called by. */
export interface EditToMerge {
  readonly file: string;
  /** sha256 of the file. */
  readonly id: string;
  readonly record: EditRecord | FactsRecord;
}

/**
 * The tensors and metadata of a file of many facts that holds these edits, in this order, each a batch of its own.
 *
 * @throws UsageError for edits of several models, or made by several methods
 */
export function mergeEdits(
  edits: readonly EditToMerge[],
  versions: Readonly<Record<string, string>>,
): { tensors: TensorToWrite[]; metadata: Record<string, string> } {
  const [first] = edits;
  if (!first) throw new UsageError('merge: expected edit files, found none.');
  const { model, method } = first.record;
  for (const { file, record } of edits) {
    if (record.model.sha256 !== model.sha256)
      throw new UsageError(
        `merge ${file}: expected an edit of ${model.id} (sha256 ${model.sha256.slice(0, 12)}) as ${first.file} is, it is of ${record.model.id} (sha256 ${record.model.sha256.slice(0, 12)}). Leave it out.`,
        'other_model',
      );
    if (record.method !== method)
      throw new UsageError(
        `merge ${file}: expected method ${method} as ${first.file} has, found ${record.method}. A file says one method: name these files one by one with --edits, or in an edit list.`,
      );
  }
  checkShapes(edits);
  const batches = edits.flatMap(({ record }): readonly FactsBatch[] =>
    isFactsRecord(record) ? record.batches : [{ requests: [record.request], updates: [record] }],
  );
  const names = new Map(
    edits.flatMap(({ record }) => targetsOf(record).map(({ layer, tensor }) => [layer, tensor] as const)),
  );
  const { adapter = '', weights: storage = '', earlier = '[]' } = first.record.metadata;
  const merged = edits.map(({ file, id, record: { metadata } }) => {
    const { options, settings, contexts, seed, covariance, numbers } = metadata;
    return { file, id, options, settings, contexts, seed, covariance, numbers };
  });
  const metadata = factsMetadata(
    { ...model, tensorOf: (layer) => names.get(layer) ?? '', adapter, storage },
    batches,
    {
      method,
      covariances: {},
      settings: { merged },
      seed: undefined,
      earlier: readIds(first.file, earlier),
      versions,
    },
  );
  return { tensors: factsTensors(batches), metadata };
}

/** That all edits of a layer change one W: files of one model can still disagree where one of them was tampered with. */
function checkShapes(edits: readonly EditToMerge[]): void {
  const seen = new Map<number, { readonly file: string; readonly shape: string }>();
  for (const { file, record } of edits)
    for (const { layer, rank, U, Lambda } of updatesOf(record)) {
      const tensor = targetsOf(record).find((target) => target.layer === layer)?.tensor;
      const shape = `${tensor} [${U.length / rank}, ${Lambda.length / rank}]`;
      const before = seen.get(layer) ?? { file, shape };
      seen.set(layer, before);
      if (before.shape !== shape)
        throw new UsageError(
          `merge ${file}: expected ${before.shape} in layer ${layer} as ${before.file} has, found ${shape}. Make the edit again.`,
          'bad_edit_file',
        );
    }
}

/** Ids of the edits that a file was made on. */
function readIds(file: string, text: string): string[] {
  const found = jsonIfAny(text);
  if (Array.isArray(found) && found.every((id) => typeof id === 'string')) return found;
  throw new UsageError(
    `merge ${file}: earlier: expected an array of ids in its metadata. Make the edit again.`,
  );
}
