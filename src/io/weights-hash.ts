/** Hashes of what the keys of a layer depend on: two models that agree in it have the same C. */
import { createHash } from 'node:crypto';
import type { Checkpoint } from '../models/checkpoint.ts';

/**
 * sha256 over the embeddings, every block below `layer`, and the layer itself up to its `mlp.c_fc`, as they are stored.
 *
 * An edit writes into `mlp.c_proj` of its layer, a fine-tuned head lies above: neither changes it.
 */
export async function weightsHash(
  checkpoint: Checkpoint,
  layer: number,
  signal?: AbortSignal,
): Promise<string> {
  const { config, tensors } = checkpoint;
  const hash = createHash('sha256');
  hash.update(JSON.stringify([config.n_embd, config.n_head, config.n_inner, config.layer_norm_epsilon]));
  for (const name of tensorsBelow(tensors.names(), layer)) {
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
export function tensorsBelow(names: readonly string[], layer: number): string[] {
  return names
    .filter((name) => {
      if (name.startsWith('wte.') || name.startsWith('wpe.')) return true;
      const match = /^h\.(\d+)\.(.*)$/.exec(name);
      if (!match) return false;
      const block = Number(match[1]);
      return block < layer || (block === layer && !(match[2] as string).startsWith('mlp.c_proj.'));
    })
    .sort();
}

/** sha256 of `tokenizer.json`, its white space aside. */
export function tokenizerHash(checkpoint: Checkpoint): string {
  return createHash('sha256').update(JSON.stringify(checkpoint.tokenizerJson)).digest('hex');
}
