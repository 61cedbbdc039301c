/** Puts edits into a model: for good, or for as long as a function runs. */
import type { Gpu } from '../gpu/context.ts';
import type { EditedWeight } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { copy, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { lowRankUpdate } from './update.ts';
import type { LowRankUpdate } from './update.ts';

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

/** Puts edits into the model for good. To take one out, load the model again and apply the others: that is exact. */
export async function applyEdits(model: Model, updates: readonly LowRankUpdate[]): Promise<void> {
  for (const update of updates) await addUpdates(model.gpu, model.editedWeight(update.layer), [update]);
}

/** Runs `fn` on the edited model, then puts W back from a copy, bit for bit, however `fn` ended. */
export async function withUpdate<T>(model: Model, update: LowRankUpdate, fn: () => Promise<T>): Promise<T> {
  const { gpu } = model;
  const w = model.editedWeight(update.layer);
  return gpu.scope(async (s) => {
    const before = copy(s, w.tensor, 'weight_before');
    try {
      await addUpdates(gpu, w, [update]);
      return await fn();
    } finally {
      gpu.copy(before, w.tensor, Math.ceil(w.tensor.bytes / 4) * 4);
      gpu.flush(); // before the copy's memory is given away
    }
  });
}
