/**
 * Models of published shapes with random weights: for benchmarks and tests where no checkpoint can be had.
 *
 * Weights are drawn as OpenAI initialised them: normal (here: a sum of two uniforms) with deviation 0.02, gains 1,
 * biases 0. Such a model says nothing, but costs what the real one costs.
 */
import { type Architecture, storedTensors } from './architecture.ts';
import type { Checkpoint } from './checkpoint.ts';
import { readGpt2 } from './gpt2.ts';
import { readGptj } from './gptj.ts';
import { readLlama, readQwen2 } from './llama.ts';
import { DEVIATION } from './weights.ts';

const gpt2Config = (n_layer: number, n_embd: number, n_head: number) => ({
  ...{ n_layer, n_embd, n_head, n_inner: 4 * n_embd },
  ...{ n_positions: 1024, vocab_size: 50_257, layer_norm_epsilon: 1e-5 },
});

/** `config.json` of the published GPT-2s. */
export const GPT2_SIZES = {
  small: gpt2Config(12, 768, 12),
  medium: gpt2Config(24, 1024, 16),
  large: gpt2Config(36, 1280, 20),
  xl: gpt2Config(48, 1600, 25),
} as const;

export interface PublishedSize {
  readonly title: string;
  readonly architecture: () => Architecture;
  /** The layer that is edited: ROME's in GPT-2 (for small: the same relative depth) and GPT-J, EasyEdit's in others. */
  readonly editLayer: number;
  /** Weights are drawn on the device: on the CPU, billions of numbers take minutes. */
  readonly onDevice?: boolean | undefined;
}

const LLAMA_3_2_1B = {
  ...{
    hidden_size: 2048,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
  },
  ...{ intermediate_size: 8192, vocab_size: 128_256, max_position_embeddings: 131_072, rms_norm_eps: 1e-5 },
  ...{ hidden_act: 'silu', tie_word_embeddings: true, rope_theta: 500_000 },
  rope_scaling: {
    ...{ rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 8192,
  },
};

const QWEN_2_5_0_5B = {
  ...{ hidden_size: 896, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2 },
  ...{ intermediate_size: 4864, vocab_size: 151_936, max_position_embeddings: 32_768, rms_norm_eps: 1e-6 },
  ...{ hidden_act: 'silu', tie_word_embeddings: true, rope_theta: 1_000_000 },
};

const GPTJ = {
  ...{ n_embd: 4096, n_layer: 28, n_head: 16 },
  ...{ n_positions: 2048, vocab_size: 50_400, rotary_dim: 64 },
};

/** The published sizes. */
export const MODEL_SIZES = {
  small: { title: 'GPT-2 small', architecture: () => readGpt2('small', GPT2_SIZES.small), editLayer: 5 },
  medium: { title: 'GPT-2 medium', architecture: () => readGpt2('medium', GPT2_SIZES.medium), editLayer: 8 },
  large: { title: 'GPT-2 large', architecture: () => readGpt2('large', GPT2_SIZES.large), editLayer: 12 },
  xl: { title: 'GPT-2 xl', architecture: () => readGpt2('xl', GPT2_SIZES.xl), editLayer: 17 },
  'qwen2.5-0.5b': {
    ...{ title: 'Qwen2.5-0.5B', editLayer: 5, onDevice: true },
    architecture: () => readQwen2('qwen2.5-0.5b', QWEN_2_5_0_5B),
  },
  'llama-3.2-1b': {
    ...{ title: 'Llama-3.2-1B', editLayer: 5, onDevice: true },
    architecture: () => readLlama('llama-3.2-1b', LLAMA_3_2_1B),
  },
  gptj: { title: 'GPT-J', editLayer: 5, onDevice: true, architecture: () => readGptj('gptj', GPTJ) },
} as const satisfies Readonly<Record<string, PublishedSize>>;

export type ModelSize = keyof typeof MODEL_SIZES;

export interface RandomOptions {
  readonly architecture: Architecture;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig?: unknown;
  readonly seed?: number;
  /** Drawn on the device when it is loaded; no tensor can be read. Default false. */
  readonly onDevice?: boolean | undefined;
}

/** A checkpoint whose tensors are drawn as they are read; nothing is stored. */
export function randomCheckpoint(
  id: string,
  { architecture, tokenizerJson, tokenizerConfig = {}, seed = 0, onDevice = false }: RandomOptions,
): Checkpoint {
  const shapes = storedTensors(architecture);
  const names = [...shapes.keys()];
  const info = (name: string): { dtype: string; shape: readonly number[]; bytes: number } => {
    const shape = shapes.get(name) ?? [];
    return { dtype: 'F32', shape, bytes: 4 * shape.reduce((product, n) => product * n, 1) };
  };
  return {
    id,
    architecture,
    tokenizerJson,
    tokenizerConfig,
    ...(onDevice ? { drawn: seed } : {}),
    sha256: async () => `random-${id}-${seed}`,
    tensors: {
      names: () => names,
      info,
      async *chunks(name, maxBytes) {
        const draw = drawer(seed * 1009 + names.indexOf(name));
        const constant = constantOf(name, info(name).shape);
        for (let left = info(name).bytes / 4; left > 0;) {
          const count = Math.min(left, Math.floor(maxBytes / 4));
          const numbers = new Float32Array(count);
          if (constant !== undefined) numbers.fill(constant);
          else for (let i = 0; i < count; i += 1) numbers[i] = draw();
          left -= count;
          yield new Uint8Array(numbers.buffer);
        }
      },
    },
  };
}

/** What a vector begins with: gains 1, biases 0; undefined for a matrix. */
function constantOf(name: string, shape: readonly number[]): number | undefined {
  if (shape.length > 1) return undefined;
  return name.endsWith('.bias') ? 0 : 1;
}

/** Numbers of mean 0 and deviation 0.02, from a 32-bit congruential generator: plain, fast, the same everywhere. */
function drawer(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  const scale = (DEVIATION * Math.sqrt(6)) / 2 ** 32; // a sum of two uniforms on [-1/2, 1/2] has variance 1/6
  return () => {
    const first = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (first + state - 2 ** 32) * scale;
  };
}
