/** What a run of facts leaves beside its journal: an edit file of all batches or one of each, and a dump of every matrix. */
import type { Fact } from '../data/fact.ts';
import type { FactsBatch, FactsCircumstances } from '../edit/facts-record.ts';
import { editRows } from '../edit/rows.ts';
import { bytesOf } from '../floats.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import { requestOf } from '../lab/evaluate.ts';
import { vectorOf, type BatchLine, type RunJournal } from '../lab/run-journal.ts';
import type { Model } from '../models/model.ts';
import { writeSafetensors } from './atomic.ts';
import { writeFactsEdit } from './edit-files.ts';
import { sha256File } from './file.ts';

/** Batches that were written, in a journal. */
export interface WrittenFacts {
  readonly model: Model;
  readonly facts: readonly Fact[];
  readonly journal: Pick<RunJournal<unknown, BatchLine>, 'vectors'>;
  readonly lines: readonly BatchLine[];
  readonly circumstances: Omit<FactsCircumstances, 'versions'> & { readonly earlier: readonly string[] };
}

/** Of each batch that was kept its number from 1, facts and updates, and all vectors, read from the journal one by one. */
async function* batchesOf({ model, facts, journal, lines }: WrittenFacts) {
  let [b, first] = [0, 0];
  for await (const block of journal.vectors()) {
    const { batch, case_ids, kept, layers, ...line } = lines[b++] as BatchLine;
    const mine = facts.slice(first, (first += case_ids.length));
    if (!kept) continue;
    const of = (name: string): Float32Array<ArrayBuffer> => {
      const found = vectorOf(line, block, name);
      if (!found) throw new RangeError(`edit: batch ${batch} has no ${name}.`);
      return found;
    };
    const requests = mine.map((fact) => {
      const words = requestOf(fact);
      return { ...words, targetIds: editRows(model.tokenizer, words, ['{}'], model.dims).targetIds };
    });
    const updates = layers.map(({ layer, rank }) => ({
      layer,
      rank,
      U: of(`u.${layer}`),
      Lambda: of(`lambda.${layer}`),
    }));
    yield { batch, requests, updates, of };
  }
}

/** An edit file of each batch. @param pathOf of a batch, from 1 */
export async function writeBatchFiles(
  written: WrittenFacts,
  pathOf: (batch: number) => string,
): Promise<void> {
  const { model, circumstances } = written;
  const earlier = [...circumstances.earlier];
  for await (const { batch, requests, updates } of batchesOf(written)) {
    const path = pathOf(batch);
    await writeFactsEdit(path, model, [{ requests, updates }], { ...circumstances, earlier });
    earlier.push(await sha256File(path));
  }
}

/** The edit file of all batches, and the dump: z, and of each layer K, R and U. */
export async function writeFactsRun(
  written: WrittenFacts,
  { out, dump }: { readonly out?: string | undefined; readonly dump?: string | undefined },
  signal?: AbortSignal,
): Promise<void> {
  const { model, lines, circumstances } = written;
  const batches: FactsBatch[] = [];
  const tensors: TensorToWrite[] = [];
  for await (const { requests, updates, of } of batchesOf(written)) {
    const b = batches.push({ requests, updates }) - 1;
    if (dump === undefined) continue;
    const n = requests.length;
    const matrix = (name: string, rows: number, values: Float32Array<ArrayBuffer>): void => {
      tensors.push({ name, dtype: 'F32', shape: [rows, values.length / rows], data: bytesOf(values) });
    };
    matrix(`${b}.z`, n, of('z'));
    for (const { layer, rank, U, Lambda } of updates) {
      matrix(`${b}.${layer}.K`, n, of(`K.${layer}`));
      matrix(`${b}.${layer}.R`, n, of(`R.${layer}`));
      matrix(`${b}.${layer}.U`, U.length / rank, product(U, Lambda, rank));
    }
  }
  if (out !== undefined) await writeFactsEdit(out, model, batches, circumstances);
  if (dump === undefined) return;
  const layers = lines[0]?.layers.map(({ layer }) => layer) ?? [];
  const { method } = circumstances;
  const metadata = { schema: 'palimpsest.dump/1', method, layers: JSON.stringify(layers) };
  await writeSafetensors(dump, tensors, { metadata, signal });
}

/** U = u λ, [F, D] */
function product(
  u: Float32Array<ArrayBuffer>,
  lambda: Float32Array<ArrayBuffer>,
  rank: number,
): Float32Array<ArrayBuffer> {
  const [F, D] = [u.length / rank, lambda.length / rank];
  const all = new Float32Array(F * D);
  const row = new Float64Array(D);
  for (let f = 0; f < F; f += 1) {
    row.fill(0);
    for (let r = 0; r < rank; r += 1) {
      const scale = u[f * rank + r] as number;
      for (let d = 0; d < D; d += 1) row[d] = (row[d] as number) + scale * (lambda[r * D + d] as number);
    }
    all.set(row, f * D);
  }
  return all;
}
