/** `config.json` of a GPT-2, under its own field names. */
import { ModelError } from '../errors.ts';

/** Sizes of the model: D = n_embd, F = n_inner, H = n_head, V = vocab_size. */
export interface Gpt2Config {
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  /** Longest text in tokens. */
  readonly n_positions: number;
  readonly vocab_size: number;
  /** Width of the MLP; 4D when the file leaves it out. */
  readonly n_inner: number;
  readonly layer_norm_epsilon: number;
}

/** Both names stand for the tanh form, ½x(1 + tanh(√(2/π)(x + 0.044715x³))). */
const ACTIVATIONS = ['gelu_new', 'gelu_pytorch_tanh'];

/** Switches that change the maths, with the only value the engine computes. Absent means this value. */
const FIXED: Readonly<Record<string, boolean>> = {
  tie_word_embeddings: true,
  scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false,
  add_cross_attention: false,
};

/**
 * Checks a parsed `config.json`. `reorder_and_upcast_attn` may be either: attention is computed in f32 anyway.
 *
 * @param id   what the user called the model, for messages
 * @throws ModelError naming the field, what was expected and what came
 */
export function parseConfig(id: string, json: unknown): Gpt2Config {
  const fault = (what: string, advice: string): ModelError =>
    new ModelError(`model ${id}: config.json: ${what}. ${advice}`, 'bad_config');
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw fault('expected a JSON object', 'Fetch the model again.');
  }
  const fields = json as Record<string, unknown>;
  if (fields['model_type'] !== 'gpt2') throw otherArchitecture(id, fields);

  const size = (...names: string[]): number => {
    const name = names.find((candidate) => fields[candidate] != null) ?? (names[0] as string);
    const value = fields[name];
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw fault(`${name}: expected a whole number > 0, got ${JSON.stringify(value)}`, 'Correct it.');
  };
  const n_embd = size('n_embd');
  const config: Gpt2Config = {
    n_embd,
    n_layer: size('n_layer'),
    n_head: size('n_head'),
    n_positions: size('n_positions', 'n_ctx'),
    vocab_size: size('vocab_size'),
    n_inner: fields['n_inner'] == null ? 4 * n_embd : size('n_inner'),
    layer_norm_epsilon: (fields['layer_norm_epsilon'] ?? 1e-5) as number,
  };
  if (n_embd % config.n_head !== 0) {
    throw fault(`n_head: expected a divisor of n_embd ${n_embd}, got ${config.n_head}`, 'Correct it.');
  }
  const epsilon: unknown = config.layer_norm_epsilon;
  if (typeof epsilon !== 'number' || !(epsilon > 0 && epsilon < 1)) {
    throw fault(
      `layer_norm_epsilon: expected a number between 0 and 1, got ${JSON.stringify(epsilon)}`,
      'Correct it.',
    );
  }
  const activation = fields['activation_function'] ?? 'gelu_new';
  if (!ACTIVATIONS.includes(activation as string)) {
    throw fault(
      `activation_function: expected ${ACTIVATIONS.join(' or ')}, got ${JSON.stringify(activation)}`,
      'Only the tanh GELU of GPT-2 is implemented: use another checkpoint.',
    );
  }
  for (const [name, value] of Object.entries(FIXED)) {
    if ((fields[name] ?? value) !== value) {
      throw fault(
        `${name}: expected ${value} or nothing, got ${JSON.stringify(fields[name])}`,
        'This variant of GPT-2 computes something else: use another checkpoint.',
      );
    }
  }
  return config;
}

function otherArchitecture(id: string, fields: Record<string, unknown>): ModelError {
  const { model_type: type, architectures } = fields;
  const names = Array.isArray(architectures) ? ` (${architectures.join(', ')})` : '';
  return new ModelError(
    `model ${id}: config.json: expected model_type "gpt2", got ${JSON.stringify(type) ?? 'none'}${names}. ` +
      'Supported is the GPT-2 architecture: gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 and models fine-tuned from them.',
    'unsupported_architecture',
  );
}
