/**
 * S = Σ k kᵀ over any number of tokens, without losing low bits: f32 sums of at most 4096 tokens, moved into a
 * running sum of two floats.
 */
import { ShapeError } from '../errors.ts';
import { type Rung, choose, gridOf, isSoftware } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { BLOCK, emptyPanels, fractionOf, pieceData, zeroPanels } from './panels.ts';
import type { PanelRange, Panels } from './panels.ts';

/** Tokens that one f32 sum may hold. */
const TILE_TOKENS = 4096;
/** Tokens that one dispatch reads: their rows lie on different pages, and more would exceed the TLB. */
const CHUNK_TOKENS = 256;

export type SecondMomentRung = Rung<PanelRange & Pick<Panels, 'f' | 'n'>>;

export const SECOND_MOMENT: readonly SecondMomentRung[] = [
  // No workgroup memory: one load of a lane serves 4 LANES rows.
  {
    kernel: 'software/second_moment_subgroup',
    fits: ({ f }, adapter) => (isSoftware(adapter, 4) || isSoftware(adapter, 8)) && f % 4 === 0,
    grid: ({ n, first, end }, { subgroupSize }) => ({
      groups: [n * (BLOCK / (4 * subgroupSize)), end - first],
    }),
    overrides: (_, { subgroupSize }) => ({ LANES: subgroupSize }),
  },
  // The definition: a thread for each element.
  {
    kernel: 'edit/second_moment_1',
    fits: () => true,
    grid: ({ n, first, end }) => ({ groups: [(n - first) * BLOCK, end - first] }),
  },
];

/** sum += KᵀK over the rows `from` up to `to` of keys [T, F], into the lower panels `sum`. */
export function addOuterProducts(
  s: Scope,
  sum: Panels,
  keys: Tensor,
  from = 0,
  to = keys.rows,
  rung = choose(SECOND_MOMENT, { ...sum, first: 0, end: sum.n }, s.gpu.adapter),
): void {
  const { f, n } = sum;
  if (keys.cols !== f)
    throw new ShapeError(`secondMoment: keys [${keys.shape.join(', ')}] into a matrix of order ${f}.`);
  for (let first = from; first < to; first += CHUNK_TOKENS) {
    const tokens = Math.min(CHUNK_TOKENS, to - first);
    for (const piece of sum.pieces) {
      const area = f * f * fractionOf(sum, piece);
      const cost = { flops: area * tokens, bytes: 4 * f * tokens + 4 * area, shape: `${tokens},${f}` };
      const shape = { f, n, first: piece.first, end: piece.end };
      const params = { f, panel: piece.first, first, tokens };
      s.gpu.run(rung.kernel, { keys, sum: piece.data }, params, gridOf(rung, shape, s.gpu.adapter, cost));
    }
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
    const factors = { factor: Math.fround(factor), factor_low: factor - Math.fround(factor) };
    made.pieces.forEach(({ data: y }, i) => {
      const n = y.size / 4;
      const bind = { high: pieceData(this.high, i), low: pieceData(this.low, i), y };
      s.gpu.run('edit/scale_two_float', bind, { n, ...factors }, { threads: n });
    });
    return made;
  }
}

/** high + low += part; part is zero afterwards. */
function addTwoFloat(s: Scope, part: Panels, high: Panels, low: Panels): void {
  part.pieces.forEach(({ data: tile }, i) => {
    const n = tile.size / 4;
    const bind = { tile, high: pieceData(high, i), low: pieceData(low, i) };
    s.gpu.run('edit/accumulate_two_float', bind, { n, zero: 0 }, { threads: n, cost: { bytes: 96 * n } });
  });
}
