/** Puts edits into a model: for good, or for as long as a function runs. Stored W [F, D] += u Λᵀ. */
import type { Model } from '../models/model.ts';
import type { Gpu } from '../gpu/context.ts';
import { copy, upload } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { rankOneUpdate } from './update.ts';

/** A rank-one change of one layer: an edit file, or an update just computed. */
export interface RankOne {
  /** [F] */
  readonly u: Float32Array<ArrayBuffer>;
  /** [D] */
  readonly lambda: Float32Array<ArrayBuffer>;
}

/** Adds changes to W in order. The order decides the last bits, so the same edits in the same order are the same model. */
export async function addUpdates(gpu: Gpu, w: Tensor, changes: readonly RankOne[]): Promise<void> {
  await gpu.scope(async (s) => {
    for (const { u, lambda } of changes)
      rankOneUpdate(s, w, upload(s, u, [u.length], 'u'), upload(s, lambda, [lambda.length], 'lambda'));
    await gpu.sync();
  });
}

/** Puts edits into the model for good. To take one out, load the model again and apply the others: that is exact. */
export async function applyEdits(
  model: Model,
  edits: readonly (RankOne & { readonly layer: number })[],
): Promise<void> {
  for (const edit of edits) await addUpdates(model.gpu, model.editedWeight(edit.layer).tensor, [edit]);
}

/** Runs `fn` on the edited model, then puts W back from a copy, bit for bit, however `fn` ended. */
export async function withUpdate<T>(
  model: Model,
  layer: number,
  update: RankOne,
  fn: () => Promise<T>,
): Promise<T> {
  const { gpu } = model;
  const w = model.editedWeight(layer).tensor;
  return gpu.scope(async (s) => {
    const before = copy(s, w, 'weight_before');
    try {
      await addUpdates(gpu, w, [update]);
      return await fn();
    } finally {
      gpu.copy(before, w, Math.ceil(w.bytes / 4) * 4);
      gpu.flush(); // before the copy's memory is given away
    }
  });
}
