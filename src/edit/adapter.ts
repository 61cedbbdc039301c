/**
 * Edits as a LoRA: W + Σ u_j λ_jᵀ is an adapter of as many ranks as there are pairs, exactly.
 *
 * A module's A [r, F] has the u_j as rows, its B [D, r] the λ_j as columns, whatever way round the checkpoint stores W.
 * All modules have the rank of the largest, zeros behind: one rank and one scale of 1 is what every reader understands.
 * What the edit files said of themselves goes along, so that they can be had back, byte for byte.
 *
 * @see Hu et al. 2021, LoRA
 */
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { jsonFrom } from '../json.ts';
import { type FactsRecord, isFactsRecord, targetsOf, updatesOf } from './facts-record.ts';
import { pairTensors } from './record-fields.ts';
import { type EditRecord, recordTensors } from './record.ts';
import { type LowRankUpdate, joined, ranksOf } from './update.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';

/** What an adapter does to one matrix. */
export interface AdapterModule {
  /** The Hugging Face name of W. */
  readonly tensor: string;
  readonly layer: number;
  /** [r, F] */
  readonly A: Float32Array<ArrayBuffer>;
  /** [D, r] */
  readonly B: Float32Array<ArrayBuffer>;
}

export interface Adapter {
  /** Of every module. */
  readonly rank: number;
  /** By layer. */
  readonly modules: readonly AdapterModule[];
  /** The edits' own words, as JSON: what `editFilesOf` reads. Without them, no edit files can be made again. */
  readonly edits: string | undefined;
}

const SCHEMA = 'palimpsest.adapter/1';

const COUNT = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const EDITS = v.object({
  schema: v.literal(SCHEMA),
  edits: v.array(
    v.object({
      /** Where its u and λ lie: ranks `first` to `first + rank` of the module of each of its layers, in their order. */
      parts: v.array(v.object({ layer: COUNT, first: COUNT, rank: v.pipe(COUNT, v.minValue(1)) })),
      /** A file of many facts: its matrices are named and shaped as such. */
      facts: v.boolean(),
      metadata: v.record(v.string(), v.string()),
    }),
  ),
});

/** @param records edits of one model, in their order */
export function adapterOf(records: readonly (EditRecord | FactsRecord)[]): Adapter {
  const all = records.flatMap((record) => [...updatesOf(record)]);
  const ranks = new Map<number, number>();
  const edits = records.map((record) => {
    const parts = targetsOf(record).map(({ layer }) => {
      const first = ranks.get(layer) ?? 0;
      const own = updatesOf(record).filter((update) => update.layer === layer);
      const rank = own.reduce((sum, update) => sum + update.rank, 0);
      ranks.set(layer, first + rank);
      return { layer, first, rank };
    });
    return { parts, facts: isFactsRecord(record), metadata: record.metadata };
  });
  const rank = Math.max(...ranks.values());
  const modules = records
    .flatMap((record) => [...targetsOf(record)])
    .filter(({ layer }, i, list) => list.findIndex((other) => other.layer === layer) === i)
    .sort((a, b) => a.layer - b.layer)
    .map(({ layer, tensor }) => {
      const own = all.filter((update) => update.layer === layer);
      return { layer, tensor, ...stack(own, rank) };
    });
  return { rank, modules, edits: JSON.stringify({ schema: SCHEMA, edits }) };
}

/** The u_j of all updates as rows of A [rank, F], their λ_j as columns of B [D, rank]. */
function stack(updates: readonly LowRankUpdate[], rank: number): Pick<AdapterModule, 'A' | 'B'> {
  const { U, Lambda, rank: own } = joined(updates);
  const [F, D] = [U.length / own, Lambda.length / own];
  const [A, padded] = [new Float32Array(rank * F), new Float32Array(rank * D)];
  A.set(transposed(U, own));
  padded.set(Lambda);
  return { A, B: transposed(padded, D) };
}

/** Rows of `cols` numbers as columns. */
function transposed(x: Float32Array, cols: number): Float32Array<ArrayBuffer> {
  const rows = x.length / cols;
  return Float32Array.from(
    { length: x.length },
    (_, e) => x[(e % rows) * cols + Math.floor(e / rows)] ?? NaN,
  );
}

/** What an edit file is made of. */
export interface EditFileParts {
  readonly tensors: readonly TensorToWrite[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * The edit files that an adapter was made from. Their checksums tell whether its numbers were changed since.
 *
 * @param name what messages call the adapter
 * @throws UsageError for an adapter that this program did not write
 */
export function editFilesOf(
  modules: readonly Omit<AdapterModule, 'tensor'>[],
  rank: number,
  edits: string | undefined,
  name: string,
): EditFileParts[] {
  const fault = (what: string): UsageError =>
    new UsageError(
      `import ${name}: ${what}. Only adapters that palimpsest export wrote can be turned into edit files again.`,
      'bad_adapter',
    );
  if (edits === undefined) throw fault("expected the edits' own words in its metadata, there are none");
  const json = jsonFrom(edits, (found) => fault(`edits: expected JSON, found ${found}`));
  const { success, output, issues } = v.safeParse(EDITS, json, { abortEarly: true });
  if (!success) throw fault(`edits: ${v.getDotPath(issues[0]) ?? ''}: expected ${issues[0].expected}`);
  const all = modules.map(({ layer, A, B }): LowRankUpdate => {
    return { layer, rank, U: transposed(A, A.length / rank), Lambda: transposed(B, rank) };
  });
  return output.edits.map(({ parts, facts, metadata }, i) => ({
    metadata,
    tensors: parts.flatMap(({ layer, first, rank: own }) => {
      const whole = all.find((candidate) => candidate.layer === layer);
      if (!whole || first + own > rank)
        throw fault(
          `edit ${i + 1}: expected ranks ${first + 1} to ${first + own} of layer ${layer}, there are none`,
        );
      const update = ranksOf(whole, first, own);
      return facts ? pairTensors(update, parts.length === 1 ? '' : `.${layer}`) : recordTensors(update);
    }),
  }));
}

/** A tensor of these numbers. */
export function matrix(name: string, shape: number[], values: Float32Array): TensorToWrite {
  return { name, dtype: 'F32', shape, data: bytesOf(values) };
}
