/**
 * Whether more text would change an edit: how far u of a few probe keys moved since C was looked at last.
 *
 * The probes are keys of the corpus itself, the last token of some of its first documents.
 */
import { EditRefused } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import { distance } from '../statistics.ts';
import { type Tensor, read } from '../tensor/tensor.ts';
import { factorise } from './cholesky.ts';
import { TOKENS_PER_DIMENSION } from './covariance-solver.ts';
import type { SecondMoment } from './second-moment.ts';
import { solve } from './solve.ts';

export interface Convergence {
  readonly layer: number;
  readonly tokens: number;
  /** max |u − u_before| over the probes, u of unit length; undefined at the first look. */
  readonly change: number | undefined;
  /** ρ that C needed. */
  readonly ridge: number;
}

export class ConvergenceProbe {
  readonly #gpu: Gpu;
  readonly #before = new Map<number, Float32Array[]>();

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /**
   * Solves for the probes with C as it is now, and compares with the last time.
   *
   * @param keys [P, F] probe keys of the layer
   * @returns undefined while there are too few tokens for a solution to mean anything
   */
  async look(layer: number, moment: SecondMoment, keys: Tensor): Promise<Convergence | undefined> {
    if (moment.count < TOKENS_PER_DIMENSION * moment.f) return undefined;
    return this.#gpu.scope(async (s) => {
      const c = moment.covariance(s);
      try {
        const factor = await factorise(s, c);
        const us: Float32Array[] = [];
        for (const { u } of await solve(s, { c, factor }, keys)) us.push(await read(this.#gpu, u));
        const before = this.#before.get(layer);
        this.#before.set(layer, us);
        const change = before && Math.max(...us.map((u, i) => distance(u, before[i] ?? u)));
        return { layer, tokens: moment.count, change, ridge: factor.ridge };
      } catch (error) {
        // Text that repeats itself leaves C singular for a while: nothing to compare yet.
        if (error instanceof EditRefused) return undefined;
        throw error;
      }
    });
  }
}
