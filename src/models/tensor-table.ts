/** The table of an architecture's tensors, written down layer by layer. */
import type { TensorSpec } from './architecture.ts';

/** One of several Linear weights that a single product reads: its name, and its outputs. */
export type StackedPart = readonly [name: string, outputs: number];

export class TensorTable {
  readonly #tensors = new Map<string, TensorSpec>();

  get tensors(): ReadonlyMap<string, TensorSpec> {
    return this.#tensors;
  }

  /** A table of rows, [rows, width]; `both` where it is the head as well. */
  rows(name: string, rows: number, width: number, use: 'rows' | 'both' = 'rows'): void {
    this.#tensors.set(name, { shape: [rows, width], use });
  }

  /** Gain, and bias where the norm has one (LayerNorm has, RMSNorm has none). */
  norm(name: string, width: number, biased = true): void {
    this.#vector(`${name}.weight`, width);
    if (biased) this.#vector(`${name}.bias`, width);
  }

  /** `Conv1D` of GPT-2: [inputs, outputs]. */
  conv1d(name: string, inputs: number, outputs: number): void {
    this.#tensors.set(`${name}.weight`, { shape: [inputs, outputs], use: 'products' });
    this.#vector(`${name}.bias`, outputs);
  }

  /** `Linear`: [outputs, inputs]. */
  linear(name: string, inputs: number, outputs: number, biased: boolean): void {
    this.#tensors.set(`${name}.weight`, { shape: [outputs, inputs], use: 'products' });
    if (biased) this.#vector(`${name}.bias`, outputs);
  }

  /** Several `Linear` of the same inputs, whose outputs one product makes side by side: [sum of outputs, inputs]. */
  stacked(name: string, inputs: number, parts: readonly StackedPart[], biased: boolean): void {
    const outputs = parts.reduce((sum, [, rows]) => sum + rows, 0);
    const of = (kind: 'weight' | 'bias') => parts.map(([part, rows]) => ({ name: `${part}.${kind}`, rows }));
    const weight = { shape: [outputs, inputs], parts: of('weight') };
    this.#tensors.set(`${name}.weight`, { ...weight, use: 'products' });
    if (biased) this.#tensors.set(`${name}.bias`, { shape: [outputs], parts: of('bias'), use: 'vector' });
  }

  #vector(name: string, width: number): void {
    this.#tensors.set(name, { shape: [width], use: 'vector' });
  }
}
