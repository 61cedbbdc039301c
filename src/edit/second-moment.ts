/**
 * S = Σ k kᵀ over any number of tokens, without losing low bits: f32 sums of at most 4096 tokens, moved into a
 * running sum of two floats.
 */
import { ShapeError } from '../errors.ts';
import { choose, gridOf, isSoftware } from '../gpu/rung.ts';
import type { Rung } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { BLOCK, emptyPanels, zeroPanels } from './panels.ts';
import type { Panels } from './panels.ts';

/** Tokens that one f32 sum may hold. */
const TILE_TOKENS = 4096;
/** Tokens that one dispatch reads: their rows lie on different pages, and more would exceed the TLB. */
const CHUNK_TOKENS = 256;

export type SecondMomentRung = Rung<{ readonly f: number; /** Panels. */ readonly n: number }>;

export const SECOND_MOMENT: readonly SecondMomentRung[] = [
  // No workgroup memory: one load of a lane serves 4 LANES rows.
  {
    kernel: 'software/second_moment_subgroup',
    fits: ({ f }, adapter) => (isSoftware(adapter, 4) || isSoftware(adapter, 8)) && f % 4 === 0,
    grid: ({ n }, { subgroupSize }) => ({ groups: [n * (BLOCK / (4 * subgroupSize)), n] }),
    overrides: (_, { subgroupSize }) => ({ LANES: subgroupSize }),
  },
  // The definition: a thread for each element.
  { kernel: 'edit/second_moment_1', fits: () => true, grid: ({ n }) => ({ groups: [n * BLOCK, n] }) },
];

/** sum += KᵀK over the rows `from` up to `to` of keys [T, F], into the lower panels `sum`. */
export function addOuterProducts(
  s: Scope,
  sum: Panels,
  keys: Tensor,
  from = 0,
  to = keys.rows,
  rung = choose(SECOND_MOMENT, sum, s.gpu.adapter),
): void {
  const { f, data } = sum;
  if (keys.cols !== f)
    throw new ShapeError(`secondMoment: keys [${keys.shape.join(', ')}] into a matrix of order ${f}.`);
  for (let first = from; first < to; first += CHUNK_TOKENS) {
    const tokens = Math.min(CHUNK_TOKENS, to - first);
    const cost = { flops: f * f * tokens, bytes: 4 * f * tokens + 4 * f * f, shape: `${tokens},${f}` };
    const grid = gridOf(rung, sum, s.gpu.adapter, cost);
    s.gpu.run(rung.kernel, { keys, sum: data }, { f, first, tokens }, grid);
  }
}

/** The running sum of one layer; its memory belongs to the scope it was made in. */
export class SecondMoment {
  /** Tokens summed so far. */
  count = 0;
  readonly f: number;
  readonly high: Panels;
  readonly low: Panels;
  readonly #tile: Panels;
  #tileTokens = 0;

  constructor(s: Scope, f: number) {
    this.f = f;
    this.high = zeroPanels(s, f, 'second_moment');
    this.low = zeroPanels(s, f, 'second_moment_low');
    this.#tile = zeroPanels(s, f, 'second_moment_tile');
  }

  /** Adds all rows of keys [T, F]. */
  add(s: Scope, keys: Tensor): void {
    for (let from = 0; from < keys.rows;) {
      const to = Math.min(keys.rows, from + TILE_TOKENS - this.#tileTokens);
      addOuterProducts(s, this.#tile, keys, from, to);
      this.#tileTokens += to - from;
      if (this.#tileTokens === TILE_TOKENS) this.fold(s);
      from = to;
    }
    this.count += keys.rows;
  }

  /** Moves the f32 sum into `high` and `low`, which hold everything afterwards. */
  fold(s: Scope): void {
    if (this.#tileTokens === 0) return;
    addTwoFloat(s, this.#tile, this.high, this.low);
    this.#tileTokens = 0;
  }

  /** Goes on from a sum saved earlier, or adds another shard: `high` and `low` as they were read. */
  addSum(s: Scope, high: Panels, low: Panels, count: number): void {
    this.fold(s);
    addTwoFloat(s, low, this.high, this.low);
    addTwoFloat(s, high, this.high, this.low);
    this.count += count;
  }

  /** C = S / count, its lower panels. */
  covariance(s: Scope): Panels {
    if (this.count === 0) throw new ShapeError('secondMoment: no tokens were added.');
    this.fold(s);
    const made = emptyPanels(s, this.f, 'covariance');
    const factor = 1 / this.count;
    const params = {
      n: made.data.size / 4,
      factor: Math.fround(factor),
      factor_low: factor - Math.fround(factor),
    };
    const bind = { high: this.high.data, low: this.low.data, y: made.data };
    s.gpu.run('edit/scale_two_float', bind, params, { threads: params.n });
    return made;
  }
}

/** high + low += part; part is zero afterwards. */
function addTwoFloat(s: Scope, part: Panels, high: Panels, low: Panels): void {
  const n = high.data.size / 4;
  const bind = { tile: part.data, high: high.data, low: low.data };
  s.gpu.run('edit/accumulate_two_float', bind, { n, zero: 0 }, { threads: n, cost: { bytes: 96 * n } });
}
