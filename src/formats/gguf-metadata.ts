/** What a GGUF file says of its model, field by field. */
import type { ModelError } from '../errors.ts';
import { type Gguf, type GgufMetadata, ggufFault } from './gguf.ts';

/** Fields of the metadata, of the kind that is wanted. */
export class MetadataReader {
  readonly #name: string;
  readonly #metadata: GgufMetadata;

  constructor({ name, metadata }: Pick<Gguf, 'name' | 'metadata'>) {
    this.#name = name;
    this.#metadata = metadata;
  }

  has(field: string): boolean {
    return this.#metadata.has(field);
  }

  /** @throws ModelError where it is neither there nor has a substitute, or is no number */
  number(field: string, otherwise?: number): number {
    const value = this.#metadata.get(field) ?? otherwise;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number === 'number' && Number.isFinite(number)) return number;
    throw this.fault(field, 'a number', value);
  }

  text(field: string): string {
    const value = this.#metadata.get(field);
    if (typeof value === 'string') return value;
    throw this.fault(field, 'a text', value);
  }

  flag(field: string, otherwise: boolean): boolean {
    const value = this.#metadata.get(field) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.fault(field, 'true or false', value);
  }

  list<T extends string | number>(field: string, kind: 'string' | 'number'): readonly T[] {
    const value = this.#metadata.get(field);
    if (Array.isArray(value) && value.every((entry) => typeof entry === kind)) return value as T[];
    throw this.fault(field, `a list of ${kind === 'string' ? 'texts' : 'numbers'}`, value);
  }

  fault(field: string, expected: string, value: unknown): ModelError {
    // Whole numbers of 64 bits are no JSON.
    const json = JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? Number(one) : one));
    const shown = json ?? 'nothing';
    return ggufFault(this.#name, `${field}: expected ${expected}, found ${shown.slice(0, 80)}`);
  }
}
