/** Hashes of what the keys of a layer depend on: two models that agree in it have the same C. */
import { createHash } from 'node:crypto';
import type { Architecture } from '../models/architecture.ts';
import type { Checkpoint } from '../models/checkpoint.ts';

/**
 * sha256 over all that the forward pass reads before the edited weight of `layer`, as it is stored.
 *
 * An edit writes into that weight, a fine-tuned head lies above: neither changes it.
 */
export async function weightsHash(
  checkpoint: Checkpoint,
  layer: number,
  signal?: AbortSignal,
): Promise<string> {
  const { architecture, tensors } = checkpoint;
  const hash = createHash('sha256');
  hash.update(JSON.stringify(architecture.constants));
  for (const name of tensorsBelow(architecture, layer)) {
    const { dtype, shape } = tensors.info(name);
    hash.update(JSON.stringify([name, dtype, shape]));
    for await (const piece of tensors.chunks(name, 2 ** 24)) {
      signal?.throwIfAborted();
      hash.update(piece);
    }
  }
  return hash.digest('hex');
}

/** The names of those tensors, sorted. */
export function tensorsBelow({ tensors, editedWeight }: Architecture, layer: number): string[] {
  const names = [...tensors.keys()];
  return names.slice(0, names.indexOf(editedWeight(layer).name)).sort();
}

/** sha256 of `tokenizer.json`, its white space aside. */
export function tokenizerHash(checkpoint: Checkpoint): string {
  return createHash('sha256').update(JSON.stringify(checkpoint.tokenizerJson)).digest('hex');
}
