/** How facts are written: by a method for one, or for many at once; and norm anchoring, which both may have. */
import { norm } from '../statistics.ts';
import type { Model } from '../models/model.ts';
import { type EditSettings, computeEdits } from './edit.ts';
import { type MassEditOptions, findValues } from './mass.ts';
import type { Method } from './method.ts';
import type { EditRequest } from './request.ts';
import { editRows } from './rows.ts';

/** How a batch is written. */
export type Writing =
  | ({ readonly kind: 'mass' } & Omit<MassEditOptions, 'z' | 'onValues' | 'onPhase' | 'signal'>)
  | { readonly kind: 'single'; readonly method: Method; readonly edit: EditSettings };

/** Flat contexts of a way to write. */
export function contextsOf(writing: Writing): readonly string[] {
  return writing.kind === 'mass' ? writing.contexts.flat() : writing.edit.contexts;
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
  requests: readonly EditRequest[],
  signal?: AbortSignal,
): Promise<number> {
  const some = requests.slice(0, MOST_ANCHORS);
  const { D } = model.dims;
  if (writing.kind === 'mass') {
    const rows = some.map((request) => editRows(model.tokenizer, request, contextsOf(writing), model.dims));
    return anchorOf(await findValues(model, rows, { ...writing, signal }), D, some.length);
  }
  const edits = await computeEdits(model, some, {
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
