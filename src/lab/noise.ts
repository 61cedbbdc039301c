/** The noise of causal tracing: normal numbers, three times as wide as the embeddings of subjects spread. */
import { UsageError } from '../errors.ts';
import { embed } from '../models/embed.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { Random } from '../models/random.ts';
import { empty, read, zeros } from '../tensor/tensor.ts';

/** How many deviations of the embeddings the noise is wide, as published ("s3"). */
export const NOISE_FACTOR = 3;

/**
 * The standard deviation over all numbers of the token embeddings of subjects: each subject tokenised alone, without a
 * blank in front, all its rows of wte laid together.
 *
 * @throws UsageError when there are no subjects
 * @see kmeng01/rome, `collect_embedding_std` of experiments/causal_trace.py
 */
export async function embeddingDeviation(model: Model, subjects: readonly string[]): Promise<number> {
  const ids = subjects.flatMap((subject) => model.tokenizer.encode(subject));
  if (ids.length === 0)
    throw new UsageError('trace: expected at least one subject for the width of the noise.');
  return model.gpu.scope(async (s) => {
    const nowhere = zeros(s, [1, model.dims.D], 'no_positions');
    const batch = uploadBatch(s, packRows(ids.map((id) => [id])));
    const rows = embed(s, model.weights(model.architecture.embedding), nowhere, batch);
    const y = empty(s, [1], 'standard_deviation');
    const cost = { flops: 4 * rows.size, bytes: 8 * rows.size };
    s.gpu.run('tensor/standard_deviation', { x: rows, y }, { n: rows.size }, { groups: [1], cost });
    return (await read(model.gpu, y))[0] ?? NaN;
  });
}

/**
 * Noise for the subject's tokens in `samples` copies of a row, zero everywhere else.
 *
 * Sample j draws from stream j of the seed, so that more samples repeat the first ones.
 *
 * @returns [samples, tokens, D]
 */
export function subjectNoise(
  shape: { readonly samples: number; readonly tokens: number; readonly width: number },
  subject: readonly [from: number, to: number],
  deviation: number,
  seed: number,
): Float32Array<ArrayBuffer> {
  const { samples, tokens, width } = shape;
  const noise = new Float32Array(samples * tokens * width);
  for (let j = 0; j < samples; j += 1) {
    const draw = normal(new Random(seed, j));
    const start = (j * tokens + subject[0]) * width;
    const end = (j * tokens + subject[1]) * width;
    for (let i = start; i < end; i += 1) noise[i] = deviation * draw();
  }
  return noise;
}

/** Standard normal numbers, two from each pair of uniform ones. Source: Box and Muller 1958. */
function normal(random: Random): () => number {
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const kept = spare;
      spare = undefined;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
    const angle = 2 * Math.PI * random.uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
