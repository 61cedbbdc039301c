/**
 * Reads the fields of a `config.json`, whichever dialect it is written in, and refuses by name what the engine would
 * compute wrongly.
 *
 *   files up to 2025   rope_theta, rope_scaling, torch_dtype; GPT-NeoX: rotary_pct, rotary_emb_base
 *   newer ones         rope_parameters {rope_type, rope_theta, partial_rotary_factor, ...}, dtype
 */
import { ModelError } from '../errors.ts';
import { isRecord } from '../json.ts';

/** How RoPE's frequencies are made, and how many components of a head they turn. */
export interface RopeSettings {
  /** Even. */
  readonly dimensions: number;
  readonly theta: number;
  readonly scaling: RopeScaling | undefined;
}

/** `linear` divides every frequency; `llama3` the slow ones, and blends between; `divisors` is GGUF's list for all. */
export type RopeScaling =
  | { readonly type: 'divisors'; readonly divisors: readonly number[] }
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

  /** A field of which only these values are implemented; absent stands for the first. @throws ModelError */
  only<const T extends string | boolean>(name: string, values: readonly T[], advice: string): T {
    const value = this.#fields[name] ?? values[0];
    const found = values.find((one) => one === value);
    if (found !== undefined) return found;
    const expected = values.join(' or ');
    const orNothing = typeof values[0] === 'boolean' ? `${expected} or nothing` : expected;
    throw this.fault(name, orNothing, value, advice);
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
   * RoPE of heads of `size` components, in either dialect.
   *
   * @throws ModelError for a kind of scaling that is not implemented, by name
   */
  rope(size: number, thetaName = 'rope_theta'): RopeSettings {
    const newer = this.#record('rope_parameters') ?? {};
    const older = this.#record('rope_scaling');
    const [where, fields] = older ? ['rope_scaling', older] : ['rope_parameters', newer];
    const positive = (name: string, value: unknown): number => {
      if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
      throw this.fault(name, 'a number > 0', value);
    };
    const number = (name: string): number => positive(`${where}.${name}`, fields[name]);
    const theta = positive(thetaName, this.#fields[thetaName] ?? newer['rope_theta'] ?? 10_000);
    const rope = { dimensions: this.#rotary(size, newer), theta, scaling: undefined };
    const type = fields['rope_type'] ?? fields['type'] ?? 'default';
    if (type === 'default') return rope;
    if (type === 'divisors') {
      const divisors = fields['divisors'];
      const fits = Array.isArray(divisors) && divisors.length === rope.dimensions / 2;
      if (!fits) throw this.fault(`${where}.divisors`, `${rope.dimensions / 2} numbers`, divisors);
      return {
        ...rope,
        scaling: { type, divisors: divisors.map((value) => positive(`${where}.divisors`, value)) },
      };
    }
    if (type === 'linear') return { ...rope, scaling: { type, factor: number('factor') } };
    if (type === 'llama3') {
      const low = number('low_freq_factor');
      const high = number('high_freq_factor');
      if (!(high > low)) throw this.fault(`${where}.high_freq_factor`, `more than ${low}`, high);
      const factors = { factor: number('factor'), lowFrequencyFactor: low, highFrequencyFactor: high };
      const originalContext = number('original_max_position_embeddings');
      return { ...rope, scaling: { type, ...factors, originalContext } };
    }
    throw this.fault(
      `${where}.rope_type`,
      'default, linear or llama3',
      type,
      'Positions of this kind are not implemented: use another checkpoint.',
    );
  }

  /** How many components of a head RoPE turns: all of them where the file says nothing. */
  #rotary(size: number, parameters: Readonly<Record<string, unknown>>): number {
    const older = this.has('rotary_pct');
    const name = older ? 'rotary_pct' : 'rope_parameters.partial_rotary_factor';
    const part = older ? this.#fields['rotary_pct'] : (parameters['partial_rotary_factor'] ?? 1);
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

/** What of RoPE changes what the weights compute. */
export function ropeConstants({ dimensions, theta, scaling }: RopeSettings): number[] {
  const numbers = Object.values(scaling ?? {})
    .flat()
    .filter((value) => typeof value === 'number');
  return [dimensions, theta, ...numbers];
}
