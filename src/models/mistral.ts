/**
 * Mistral: Llama's block, and attention that looks back over a sliding window.
 *
 * A token sees the `sliding_window` tokens up to itself. In a text no longer than that it sees all that stands before it,
 * which is Llama's attention; so the window takes the place of the context, and longer texts are refused with that
 * reason.
 *
 * Source: Jiang et al. 2023.
 */
import type { Architecture, Dimensions } from './architecture.ts';
import { ConfigReader } from './config.ts';
import { llama, readLlamaFields } from './llama.ts';

/** The sizes of a model whose attention is exact up to `window` tokens only. */
export function withinWindow(dims: Dimensions, window: number): Dimensions {
  if (window >= dims.context) return dims;
  return {
    ...dims,
    context: window,
    contextIs:
      'the sliding window of attention (beyond it, tokens are no longer seen, which is not implemented)',
  };
}

/** @throws ModelError naming the field of `config.json`, what was expected and what came */
export function readMistral(id: string, fields: Readonly<Record<string, unknown>>): Architecture {
  const read = new ConfigReader(id, fields);
  const { dims, eps, rope } = readLlamaFields(read);
  const sized = withinWindow(dims, read.sizeOr('sliding_window', dims.context));
  return llama(sized, {
    ...{ name: 'mistral', eps, rope, headNorms: false },
    tied: read.flag('tie_word_embeddings', false),
    ...{ qkvBias: false, outputBias: false, mlpBias: false },
  });
}
