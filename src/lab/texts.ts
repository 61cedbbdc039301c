/** Seeded texts from the model, as the fluency metrics read them. */
import { ModelError } from '../errors.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import { fluency, normalisedEntropy } from './fluency.ts';

export interface TextOptions {
  /** Tokens of a text, its prompt included. Published: 100. */
  readonly tokens: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

const TOP_K = 5;

/**
 * One text a prompt, the prompt included, each token drawn from the 5 most likely. The draws depend on the seed and the
 * prompt's place only, so that the texts of two methods differ by the methods alone.
 *
 * @returns undefined where the model has no finite logits any more
 */
export async function writeTexts(
  model: Model,
  prompts: readonly string[],
  { tokens, seed, signal }: TextOptions,
): Promise<string[] | undefined> {
  if (prompts.length === 0) return [];
  const length = Math.min(tokens, model.dims.context);
  const ids = prompts.map((prompt) => model.tokenizer.encode(prompt));
  const shortest = Math.min(...ids.map((row) => row.length));
  const longest = Math.max(...ids.map((row) => row.length));
  const wanted = Math.min(length - shortest, model.dims.context - longest);
  if (wanted <= 0) return [...prompts];
  try {
    const added = await generate(model, ids, {
      tokens: wanted,
      topK: TOP_K,
      seed,
      ...(signal ? { signal } : {}),
    });
    return ids.map((row, b) => {
      const rest = (added[b] ?? []).slice(0, Math.max(0, length - row.length));
      return model.tokenizer.decode([...row, ...rest]);
    });
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

export interface TextMeasures {
  /** × 100, as tables print it. */
  readonly GE: number;
  /** Normalised entropy of the words, 0..1. */
  readonly entropy: number;
}

/** null where there are no texts; a model without finite logits says nothing: 0. */
export function measureTexts(texts: readonly string[] | undefined): TextMeasures | null {
  if (!texts) return { GE: 0, entropy: 0 };
  const [ge, entropy] = [fluency(texts), normalisedEntropy(texts)];
  return ge === undefined || entropy === undefined ? null : { GE: 100 * ge, entropy };
}
