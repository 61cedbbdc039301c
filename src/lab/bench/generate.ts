/** Tokens a second of generation, for one prompt and for eight. */
import { generate } from '../../models/generate.ts';
import type { Model } from '../../models/model.ts';
import { timingOf } from './statistics.ts';
import type { Timing } from './statistics.ts';

export interface GenerateBench {
  readonly prompts: number;
  /** ms of a step that adds one token to every prompt */
  readonly step: Timing;
  readonly tokensPerSecond: number;
  /** Weights read in a step, and how fast that was, in bytes and bytes a second. */
  readonly bytes: number;
  readonly rate: number;
}

const PROMPT_TOKENS = 16;
const NEW_TOKENS = 14;
const ROUNDS = 4;

/**
 * Greedy, for each number of prompts in turns, so that a slow minute of the machine slows them alike. The first two
 * tokens of a run, which compute the prompts and compile, are not counted.
 */
export async function benchGenerate(
  model: Model,
  { prompts, signal }: { prompts: readonly number[]; signal?: AbortSignal },
): Promise<GenerateBench[]> {
  const steps = prompts.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round += 1)
    for (const [i, count] of prompts.entries()) steps[i]?.push(...(await stepsOf(model, count, signal)));
  const bytes = stepBytes(model);
  return prompts.map((count, i) => {
    const step = timingOf(steps[i] ?? []);
    const seconds = step.median / 1000;
    return { prompts: count, step, bytes, tokensPerSecond: count / seconds, rate: bytes / seconds };
  });
}

/** ms of each step of one run. */
async function stepsOf(model: Model, prompts: number, signal: AbortSignal | undefined): Promise<number[]> {
  const texts = Array.from({ length: prompts }, (_, b) =>
    Array.from({ length: PROMPT_TOKENS }, (__, i) => (b * 31 + i * 7) % Math.min(8192, model.dims.V)),
  );
  const ends: number[] = [];
  const onToken = (row: number): void => {
    if (row === prompts - 1) ends.push(performance.now());
  };
  await generate(model, texts, {
    tokens: NEW_TOKENS,
    topK: 1,
    seed: 0,
    onToken,
    ...(signal ? { signal } : {}),
  });
  return ends.slice(2).map((end, i) => end - (ends[i + 1] ?? NaN));
}

/** Everything but tables of which a step reads one row a prompt. */
function stepBytes({ architecture, weights }: Model): number {
  let sum = 0;
  for (const [name, { use }] of architecture.tensors) if (use !== 'rows') sum += weights(name).bytes;
  return sum;
}
