/**
 * Reads the fields of a `config.json`, whichever dialect it is written in, and refuses by name what the engine would
 * compute wrongly.
 *
 *   files up to 2025   rope_theta, rope_scaling, torch_dtype; GPT-NeoX: rotary_pct, rotary_emb_base
 *   newer ones         rope_parameters {rope_type, rope_theta, partial_rotary_factor, ...}, dtype
 */
import { ModelError } from '../errors.ts';
import { isRecord } from '../formats/source.ts';

/** How RoPE's frequencies are made. */
export interface RopeSettings {
  readonly theta: number;
  readonly scaling: RopeScaling | undefined;
}

/** `linear` divides every frequency; `llama3` the slow ones, and blends between. */
export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      /** The context that the unscaled frequencies were trained with. */
      readonly originalContext: number;
    };

export class ConfigReader {
  readonly #id: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /** @param id what the user called the model, for messages */
  constructor(id: string, fields: Readonly<Record<string, unknown>>) {
    this.#id = id;
    this.#fields = fields;
  }

  /** The error for a field: what was expected and what came, and what to do. */
  fault(name: string, expected: string, value: unknown, advice = 'Correct it.'): ModelError {
    return new ModelError(
      `model ${this.#id}: config.json: ${name}: expected ${expected}, got ${JSON.stringify(value)}. ${advice}`,
      'bad_config',
    );
  }

  /** Whether the file says anything of a field. */
  has(name: string): boolean {
    return this.#fields[name] != null;
  }

  /** A whole number above 0, under the first of the names that the file has. @throws ModelError */
  size(...names: readonly [string, ...string[]]): number {
    const name = names.find((candidate) => this.has(candidate)) ?? names[0];
    const value = this.#fields[name];
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw this.fault(name, 'a whole number > 0', value);
  }

  sizeOr(name: string, otherwise: number): number {
    return this.has(name) ? this.size(name) : otherwise;
  }

  /** ε of a norm, between 0 and 1. @throws ModelError */
  epsilon(name: string, otherwise?: number): number {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value === 'number' && value > 0 && value < 1) return value;
    throw this.fault(name, 'a number between 0 and 1', value);
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.fault(name, 'true or false', value);
  }

  /** Refuses values of a field that change the maths to something that is not implemented; absent is the first. */
  only(name: string, values: readonly (string | number | boolean)[], advice: string): void {
    const value = this.#fields[name] ?? values[0];
    if (!values.includes(value as string)) {
      const expected = values.map((one) => (typeof one === 'string' ? one : String(one))).join(' or ');
      throw this.fault(
        name,
        typeof values[0] === 'boolean' ? `${expected} or nothing` : expected,
        value,
        advice,
      );
    }
  }

  /** `whole` split into `parts` equal parts. @throws ModelError where it does not divide */
  divide(whole: string, parts: string): number {
    const [all, n] = [this.size(whole), this.size(parts)];
    if (all % n === 0) return all / n;
    throw this.fault(parts, `a divisor of ${whole} ${all}`, n);
  }

  /** Heads of keys and values for `heads` of queries: the same number where the file says nothing. */
  keyValueHeads(heads: number): number {
    const name = 'num_key_value_heads';
    const found = this.sizeOr(name, heads);
    if (heads % found === 0) return found;
    throw this.fault(name, `a divisor of num_attention_heads ${heads}`, found);
  }

  /** Weights in 4 or 8 bits are other tensors than those we know. @throws ModelError naming the method */
  refuseQuantised(): void {
    const found = this.#fields['quantization_config'];
    if (found == null) return;
    const method = isRecord(found) ? (found['quant_method'] ?? found) : found;
    throw this.fault(
      'quantization_config',
      'none',
      method,
      'Quantised weights cannot be edited: use the checkpoint in F32, F16 or BF16 that they were made from.',
    );
  }

  /**
   * θ and the scaling of RoPE, of either dialect.
   *
   * @throws ModelError for a kind of scaling that is not implemented, by name
   */
  rope(thetaName = 'rope_theta'): RopeSettings {
    const parameters = this.#record('rope_parameters') ?? {};
    const fields = this.#record('rope_scaling') ?? parameters;
    const number = (of: Readonly<Record<string, unknown>>, where: string, name: string): number => {
      const value = of[name];
      if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
      throw this.fault(`${where}${name}`, 'a number > 0', value);
    };
    const theta = this.has(thetaName)
      ? number(this.#fields, '', thetaName)
      : parameters['rope_theta'] == null
        ? 10_000
        : number(parameters, 'rope_parameters.', 'rope_theta');
    const where = `${this.has('rope_scaling') ? 'rope_scaling' : 'rope_parameters'}.`;
    const type = fields['rope_type'] ?? fields['type'] ?? 'default';
    if (type === 'default') return { theta, scaling: undefined };
    const factor = (): number => number(fields, where, 'factor');
    if (type === 'linear') return { theta, scaling: { type, factor: factor() } };
    if (type === 'llama3') {
      const low = number(fields, where, 'low_freq_factor');
      const high = number(fields, where, 'high_freq_factor');
      if (!(high > low))
        throw this.fault(`${where}high_freq_factor`, `more than low_freq_factor ${low}`, high);
      const originalContext = number(fields, where, 'original_max_position_embeddings');
      return {
        theta,
        scaling: {
          ...{ type, factor: factor(), lowFrequencyFactor: low, highFrequencyFactor: high },
          originalContext,
        },
      };
    }
    throw this.fault(
      `${where}rope_type`,
      'default, linear or llama3',
      type,
      'Positions of this kind are not implemented: use another checkpoint.',
    );
  }

  /** The part of a head that RoPE turns, as a number of components: even, and at most `size`. */
  rotaryDimensions(size: number): number {
    const parameters = this.#record('rope_parameters') ?? {};
    const name = this.has('rotary_pct') ? 'rotary_pct' : 'rope_parameters.partial_rotary_factor';
    const part = this.#fields['rotary_pct'] ?? parameters['partial_rotary_factor'] ?? 1;
    const found = typeof part === 'number' ? Math.floor(size * part) : NaN;
    if (found > 0 && found <= size && found % 2 === 0) return found;
    throw this.fault(name, `a part of ${size} that is an even number of components`, part);
  }

  #record(name: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.#fields[name];
    if (value == null) return undefined;
    if (isRecord(value)) return value;
    throw this.fault(name, 'an object', value);
  }
}
