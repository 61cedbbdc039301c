/** A GPT-2 of two layers with random weights, and text for it: whole builds in a second on any adapter. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Gpu } from '../src/gpu/context.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { readGpt2 } from '../src/models/gpt2.ts';
import { randomCheckpoint } from '../src/models/random-checkpoint.ts';

const tokenizerJson: unknown = JSON.parse(
  readFileSync(fileURLToPath(new URL('../weights/facts/tokenizer.json', import.meta.url)), 'utf8'),
);

/** F = 96 is no multiple of a panel; the window of 48 tokens cuts some documents. */
export const TINY_CONFIG = {
  n_embd: 24,
  n_layer: 2,
  n_head: 2,
  n_positions: 48,
  vocab_size: 8192,
  n_inner: 96,
  layer_norm_epsilon: 1e-5,
};

export function tinyCheckpoint(seed = 1, id = 'tiny'): Checkpoint {
  return randomCheckpoint(id, { architecture: readGpt2('tiny', TINY_CONFIG), tokenizerJson, seed });
}

export async function tinyModel(gpu: Gpu, checkpoint = tinyCheckpoint()): Promise<Model> {
  return Model.load(gpu, checkpoint);
}

const WORDS =
  'the river of stone ran past a city where few people had ever written down what they knew about it'.split(
    ' ',
  );

/** Documents of 3 to 62 words. */
export function tinyDocuments(count: number, seed = 1): string[] {
  let state = seed;
  const next = (n: number): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
  return Array.from({ length: count }, () =>
    Array.from({ length: 3 + next(60) }, () => `${WORDS[next(WORDS.length)]}${next(97)}`).join(' '),
  );
}
