/** What the model would say next, and how likely it finds a continuation. */
import { UsageError } from '../errors.ts';
import { indices, read, readU32 } from '../tensor/tensor.ts';
import { packRows, uploadBatch } from './batch.ts';
import { argmaxRows, logSoftmaxRows, logsumexp, nll } from './losses.ts';
import type { Model } from './model.ts';
import { topK } from './random.ts';

export interface NextToken {
  readonly id: number;
  readonly token: string;
  /** ln p, natural */
  readonly logprob: number;
}

export interface Prediction {
  /** Best first. */
  readonly next: NextToken[];
  /** Mean ln p of the continuation's tokens, each after those before it; NaN when there is no continuation. */
  readonly continuationLogprob: number;
  /** Every token of the continuation is the likeliest where it stands; false when there is no continuation. */
  readonly continuationFirst: boolean;
}

export interface PredictOptions {
  /** How many tokens to give. Default 10. */
  readonly count?: number;
  /** Ids whose likelihood is wanted. Default none. */
  readonly continuation?: readonly number[];
}

/**
 * The most likely tokens after a text, and the log-probability per token of one continuation of it.
 *
 * @param text a string, or its ids: at least one token
 * @throws UsageError when the text is empty, or text and continuation exceed the context window
 */
export async function predict(
  model: Model,
  text: string | readonly number[],
  { count = 10, continuation = [] }: PredictOptions = {},
): Promise<Prediction> {
  const ids = typeof text === 'string' ? model.tokenizer.encode(text) : text;
  const row = [...ids, ...continuation.slice(0, -1)];
  const { context, contextIs = 'the context window' } = model.dims;
  if (ids.length === 0)
    throw new UsageError('text: expected at least one token, found none. Write some text.');
  if (row.length > context)
    throw new UsageError(
      `text: expected at most ${context} tokens, ${contextIs} of ${model.id}, found ${row.length}. Shorten it.`,
      'too_long',
    );
  return model.gpu.scope(async (s) => {
    const batch = uploadBatch(s, packRows([row]));
    const wanted = Array.from({ length: row.length - ids.length + 1 }, (_, i) => ids.length - 1 + i);
    const logits = model.logits(s, model.forward(s, batch), indices(s, wanted, 'wanted_rows'));
    const lse = logsumexp(s, logits);
    const logprobs = await read(model.gpu, logSoftmaxRows(s, logits, [0, 1], lse));
    const next = topK(logprobs, count).map((id) => ({
      id,
      token: model.tokenizer.token(id),
      logprob: logprobs[id] ?? NaN,
    }));
    if (continuation.length === 0) return { next, continuationLogprob: NaN, continuationFirst: false };
    const targets = indices(s, continuation, 'continuation');
    const rows = indices(s, [...continuation.keys()], 'rows');
    const losses = await read(model.gpu, nll(s, logits, rows, targets, lse));
    const likeliest = await readU32(model.gpu, argmaxRows(s, logits));
    return {
      next,
      continuationLogprob: -losses.reduce((sum, loss) => sum + loss, 0) / losses.length,
      continuationFirst: continuation.every((id, i) => id === likeliest[i]),
    };
  });
}
