/**
 * GPT-2 in any of its sizes with random weights: for benchmarks and tests where no checkpoint can be had.
 *
 * Weights are drawn as OpenAI initialised them: normal (here: a sum of two uniforms) with deviation 0.02, gains 1,
 * biases 0. Such a model says nothing, but costs what the real one costs.
 */
import type { Checkpoint } from './checkpoint.ts';
import { gpt2 } from './gpt2.ts';
import type { Gpt2Config } from './gpt2.ts';

export type ModelSize = 'small' | 'medium' | 'large' | 'xl';

const SHARED = { n_positions: 1024, vocab_size: 50_257, layer_norm_epsilon: 1e-5 };

function shape(n_layer: number, n_embd: number, n_head: number): Gpt2Config {
  return { ...SHARED, n_layer, n_embd, n_head, n_inner: 4 * n_embd };
}

/** The published sizes, and the layer that ROME edits in each (for small: the same relative depth). */
export const MODEL_SIZES: Readonly<
  Record<ModelSize, { readonly config: Gpt2Config; readonly editLayer: number }>
> = {
  small: { config: shape(12, 768, 12), editLayer: 5 },
  medium: { config: shape(24, 1024, 16), editLayer: 8 },
  large: { config: shape(36, 1280, 20), editLayer: 12 },
  xl: { config: shape(48, 1600, 25), editLayer: 17 },
};

export interface RandomOptions {
  readonly config: Gpt2Config;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig?: unknown;
  readonly seed?: number;
}

/** A checkpoint whose tensors are drawn as they are read; nothing is stored. */
export function randomCheckpoint(
  id: string,
  { config, tokenizerJson, tokenizerConfig = {}, seed = 0 }: RandomOptions,
): Checkpoint {
  const architecture = gpt2(config);
  const names = [...architecture.tensors.keys()];
  const info = (name: string): { dtype: string; shape: readonly number[]; bytes: number } => {
    const dimensions = architecture.tensors.get(name)?.shape ?? [];
    return { dtype: 'F32', shape: dimensions, bytes: 4 * dimensions.reduce((product, n) => product * n, 1) };
  };
  return {
    id,
    architecture,
    tokenizerJson,
    tokenizerConfig,
    sha256: async () => `random-${id}-${seed}`,
    tensors: {
      names: () => names,
      info,
      async *chunks(name, maxBytes) {
        const draw = drawer(seed * 1009 + names.indexOf(name));
        const fill = name.endsWith('.bias') ? () => 0 : /ln_\w+\.weight$/.test(name) ? () => 1 : draw;
        for (let left = info(name).bytes / 4; left > 0;) {
          const count = Math.min(left, Math.floor(maxBytes / 4));
          const numbers = new Float32Array(count);
          for (let i = 0; i < count; i += 1) numbers[i] = fill();
          left -= count;
          yield new Uint8Array(numbers.buffer);
        }
      },
    },
  };
}

/** Numbers of mean 0 and deviation 0.02, from a 32-bit congruential generator: plain, fast, the same everywhere. */
function drawer(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  const scale = (0.02 * Math.sqrt(6)) / 2 ** 32; // a sum of two uniforms on [-1/2, 1/2] has variance 1/6
  return () => {
    const first = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (first + state - 2 ** 32) * scale;
  };
}
