/** How surprised the model is by text that it should know. */
import type { Model } from '../models/model.ts';
import { score } from './score.ts';

/** Ids of documents, each cut to the context window; those of one token are left out, since nothing of them is predicted. */
export function heldOut(model: Model, texts: readonly string[]): number[][] {
  return texts
    .map((text) => model.tokenizer.encodeDocument(text, model.dims.context))
    .filter((ids) => ids.length > 1);
}

/** exp of the mean −ln p over all tokens of all documents but the first of each. @returns undefined for no documents */
export async function perplexity(
  model: Model,
  documents: readonly (readonly number[])[],
): Promise<number | undefined> {
  const items = documents.map((ids) => ({ prompt: ids.slice(0, 1), target: ids.slice(1) }));
  const scores = await score(model, items);
  const tokens = items.reduce((sum, { target }) => sum + target.length, 0);
  const total = scores.reduce((sum, { nll }, i) => sum + nll * (items[i]?.target.length ?? 0), 0);
  return tokens === 0 ? undefined : Math.exp(total / tokens);
}
