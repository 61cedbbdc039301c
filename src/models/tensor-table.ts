/** The table of an architecture's tensors, written down layer by layer. */
import type { TensorSpec } from './architecture.ts';

export class TensorTable extends Map<string, TensorSpec> {
  /** A table of rows, [rows, width]; `both` where it is the head as well. */
  rows(name: string, rows: number, width: number, use: 'rows' | 'both' = 'rows'): void {
    this.set(name, { shape: [rows, width], use });
  }

  /** Gain, and bias where the norm has one (LayerNorm has, RMSNorm has none). */
  norm(name: string, width: number, biased = true): void {
    this.#vector(`${name}.weight`, width);
    if (biased) this.#vector(`${name}.bias`, width);
  }

  /** `Conv1D` of GPT-2: [inputs, outputs]. */
  conv1d(name: string, inputs: number, outputs: number): void {
    this.set(`${name}.weight`, { shape: [inputs, outputs], use: 'products' });
    this.#vector(`${name}.bias`, outputs);
  }

  /** `Linear`: [outputs, inputs]. */
  linear(name: string, inputs: number, outputs: number, biased: boolean): void {
    this.set(`${name}.weight`, { shape: [outputs, inputs], use: 'products' });
    if (biased) this.#vector(`${name}.bias`, outputs);
  }

  /**
   * Several `Linear` of the same inputs, whose outputs one product makes side by side: [sum of outputs, inputs].
   *
   * @param at      what all names begin with
   * @param outputs of each, in their order
   */
  stacked(at: string, name: string, inputs: number, outputs: Record<string, number>, biased: boolean): void {
    const parts = Object.entries(outputs);
    const of = (kind: string) => parts.map(([part, rows]) => ({ name: `${at}.${part}.${kind}`, rows }));
    const all = parts.reduce((sum, [, rows]) => sum + rows, 0);
    const weight = { shape: [all, inputs], parts: of('weight') };
    this.set(`${at}.${name}.weight`, { ...weight, use: 'products' });
    if (biased) this.set(`${at}.${name}.bias`, { shape: [all], parts: of('bias'), use: 'vector' });
  }

  #vector(name: string, width: number): void {
    this.set(name, { shape: [width], use: 'vector' });
  }
}
