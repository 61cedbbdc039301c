/** The contexts of an edit when nobody hands them in: what the model itself says after `<|endoftext|>`. */
import { ModelError } from '../errors.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import { BARE_CONTEXT, SAMPLED_CONTEXTS, contextFromSample } from './contexts.ts';

/** Raised whenever a seed would give other contexts; part of the name under which they are cached. */
export const SAMPLING_VERSION = 1;

const START = '<|endoftext|>';

/**
 * 21 templates, `{}` first. All samples are one batch: row b draws from stream b of the seed, and the shorter texts are
 * the beginnings of theirs. In a sequence of edits they come from the unedited model, as published.
 *
 * @throws ModelError when the tokenizer has no `<|endoftext|>`
 * @see kmeng01/rome `get_context_templates`
 */
export async function sampleContexts(
  model: Model,
  seed: number,
  options: { readonly signal?: AbortSignal; readonly onStep?: (done: number, total: number) => void } = {},
): Promise<string[]> {
  const start = model.tokenizer.encode(START);
  if (start.length !== 1)
    throw new ModelError(
      `contexts: expected ${START} to be one token of ${model.id}, found ${start.length}. Give contexts of your own with --contexts.`,
    );
  const lengths = SAMPLED_CONTEXTS.groups.flatMap(({ tokens, count }) => Array<number>(count).fill(tokens));
  const tokens = Math.max(...lengths);
  let drawn = 0;
  const samples = await generate(
    model,
    lengths.map(() => start),
    {
      tokens,
      topK: SAMPLED_CONTEXTS.topK,
      seed,
      onToken: () => options.onStep?.((drawn += 1), tokens * lengths.length),
      ...(options.signal ? { signal: options.signal } : {}),
    },
  );
  const texts = samples.map((ids, b) => model.tokenizer.decode(ids.slice(0, lengths[b])));
  return [BARE_CONTEXT, ...texts.map(contextFromSample)];
}
