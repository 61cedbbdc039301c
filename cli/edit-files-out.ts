/** What an edit leaves on the disk: the edit file, and every intermediate vector. */
import { recordMetadata } from '../src/edit/record.ts';
import type { Circumstances } from '../src/edit/record.ts';
import type { Edit, Update } from '../src/edit/edit.ts';
import { bytesOf } from '../src/floats.ts';
import type { Model } from '../src/models/model.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';

function vector(name: string, values: Float32Array): TensorToWrite {
  return { name, dtype: 'F32', shape: [values.length], data: bytesOf(values) };
}

/** `--out FILE`. */
export async function writeEditFile(
  path: string,
  model: Model,
  edit: Edit,
  update: Update,
  circumstances: Circumstances,
  signal: AbortSignal,
): Promise<void> {
  const metadata = recordMetadata(model, edit, update, circumstances);
  await writeSafetensors(path, [vector('u', update.u), vector('lambda', update.lambda)], {
    metadata,
    signal,
  });
}

/** `--dump FILE`: one method's Λ is `lambda`; of several, `lambda.METHOD`, and p-ROME's own direction `u.p-rome`. */
export async function writeDump(path: string, edit: Edit, signal: AbortSignal): Promise<void> {
  const updates = [...edit.updates.values()];
  const several = updates.length > 1;
  const tensors = Object.entries(edit.vectors).map(([name, values]) => vector(name, values));
  // All but p-ROME write along the same u.
  const mean = updates.find(({ method }) => method !== 'p-rome') ?? updates[0];
  if (mean) tensors.push(vector('u', mean.u));
  for (const { method, lambda, u } of updates) {
    tensors.push(vector(several ? `lambda.${method}` : 'lambda', lambda));
    if (several && method === 'p-rome') tensors.push(vector('u.p-rome', u));
  }
  await writeSafetensors(path, tensors, { signal });
}
