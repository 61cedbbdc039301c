/** Puts edits into a model: for good, or for as long as a function runs. */
import type { Gpu } from '../gpu/context.ts';
import type { EditedWeight } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { type Tensor, copy, upload } from '../tensor/tensor.ts';
import { type LowRankUpdate, lowRankUpdate } from './update.ts';

/** Adds updates to W in order. The order decides the last bits, so the same edits in the same order are the same model. */
export async function addUpdates(
  gpu: Gpu,
  w: Pick<EditedWeight, 'layout'> & { readonly tensor: Tensor },
  updates: readonly LowRankUpdate[],
): Promise<void> {
  await gpu.scope(async (s) => {
    for (const { U, Lambda, rank } of updates)
      lowRankUpdate(s, w, {
        U: upload(s, U, [U.length / rank, rank], 'U'),
        Lambda: upload(s, Lambda, [rank, Lambda.length / rank], 'Lambda'),
        rank,
      });
    await gpu.sync();
  });
}

/** Puts edits into the model for good; `keepWeights` before it, or loading the model again, is the way back. */
export async function applyEdits(model: Model, updates: readonly LowRankUpdate[]): Promise<void> {
  for (const update of updates) await addUpdates(model.gpu, model.editedWeight(update.layer), [update]);
}

/** Weights as they were. */
export interface KeptWeights {
  /** The copies, by layer. */
  readonly before: ReadonlyMap<number, Tensor>;
  /** Puts them back bit for bit, and gives the memory of the copies back. To be called once. */
  revert(): void;
  /** Leaves the weights as they are now, and gives the memory of the copies back. Instead of `revert`. */
  drop(): void;
}

/**
 * Copies the weights that edits of these layers change. Subtracting an update would not be exact: u Λᵀ was rounded when
 * it was added.
 */
export function keepWeights(model: Model, layers: Iterable<number>): KeptWeights {
  const { gpu } = model;
  const s = gpu.open();
  const weightOf = (layer: number): Tensor => model.editedWeight(layer).tensor;
  const before = new Map(
    [...new Set(layers)].map((layer) => [layer, copy(s, weightOf(layer), 'weight_before')]),
  );
  return {
    before,
    revert: () => {
      for (const [layer, kept] of before) gpu.copy(kept, weightOf(layer));
      gpu.flush(); // before the copies' memory is given away
      s.close();
    },
    drop: () => s.close(),
  };
}

/** Runs `fn` on the edited model, then reverts, however `fn` ended. */
export async function withUpdate<T>(model: Model, update: LowRankUpdate, fn: () => Promise<T>): Promise<T> {
  const kept = keepWeights(model, [update.layer]);
  try {
    await applyEdits(model, [update]);
    return await fn();
  } finally {
    kept.revert();
  }
}
