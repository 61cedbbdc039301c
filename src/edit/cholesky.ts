/**
 * C + ρI = L Lᵀ, blocked, panel by panel:
 *
 *   update    A_q −= Σ_p L_p L_qpᵀ      by all panels p left of panel q: F³ / 3 flops, almost all the work
 *   diagonal  L_qq, then its inverse    one workgroup
 *   below     L_iq = A_iq L_qq⁻ᵀ        the rest of the panel
 *
 * ρ is the smallest of 0, ε, 10 ε, … times the mean of the diagonal for which every pivot stands above the noise
 * of float32.
 */
import { EditRefused } from '../errors.ts';
import { type Rung, choose, gridOf, isSoftware } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { type Tensor, empty, read, readU32, upload } from '../tensor/tensor.ts';
import { type PanelRange, type Panels, BLOCK, emptyPanels, panelWindow, pieceData } from './panels.ts';

/** L of C + ρI, ready for solves. */
export interface Factor {
  readonly l: Panels;
  /** [64 n, 64] inverses of the diagonal blocks of L. */
  readonly inverses: Tensor;
  /** ρ, added to the diagonal; 0 where C needed none. */
  readonly ridge: number;
  /** The smallest number under a root: how far from singular the factorisation came. */
  readonly smallestPivot: number;
  /** Mean of the diagonal of C. */
  readonly meanDiagonal: number;
  /** What was tried before `ridge`, and the row at which each failed. */
  readonly failed: readonly { readonly ridge: number; readonly row: number }[];
}

/** One update: panel q of n by the panels from `first` up to `end`. */
interface Update extends PanelRange {
  readonly n: number;
  readonly q: number;
}

/** Rungs differ in the update of a panel, almost all the work. `solve_1.wgsl` has the definition. */
export type CholeskyRung = Rung<Update>;

export const CHOLESKY: readonly CholeskyRung[] = [
  // No workgroup memory: lanes hand the elements of rows round.
  {
    kernel: 'software/cholesky_update_subgroup',
    fits: (_, adapter) => isSoftware(adapter, 4) || isSoftware(adapter, 8),
    grid: ({ n, q }, { subgroupSize }) => ({ groups: (BLOCK / (4 * subgroupSize)) * (n - q) }),
    overrides: (_, { subgroupSize }) => ({ LANES: subgroupSize }),
  },
  // 4 x 4 elements a thread.
  { kernel: 'edit/cholesky_update', fits: () => true, grid: ({ n, q }) => ({ groups: 4 * (n - q) }) },
];

/** 2⁻²³, the relative distance of neighbouring float32 numbers. */
const EPS = 2 ** -23;
/** A pivot below this part of its diagonal element is what rounding left of it. */
const NOISE = 2 * EPS;
const NONE = 0xffffffff;
/** Panels that one update takes: their rows of panel q, 16 KiB each, are read by every group and stay in the cache. */
const TOGETHER = 16;

/**
 * Factorises C; the factor belongs to `s`.
 *
 * @param c      lower panels of C [F, F], symmetric
 * @param ridge  tried first; 0 where absent
 * @throws EditRefused when C holds something not finite, or no ridge up to its mean diagonal helps
 */
export async function factorise(
  s: Scope,
  c: Panels,
  { ridge = 0, rung }: { readonly ridge?: number; readonly rung?: CholeskyRung | undefined } = {},
): Promise<Factor> {
  const gpu = s.gpu;
  const padded = c.n * BLOCK;
  const l = emptyPanels(s, c.f, 'cholesky');
  const inverses = empty(s, [padded, BLOCK], 'cholesky_inverses');
  const [diagonal, pivots] = [empty(s, [padded], 'diagonal'), empty(s, [padded], 'pivots')];
  const failure = upload(s, Uint32Array.of(NONE), [1], 'failed');
  const failed: { ridge: number; row: number }[] = [];
  let meanDiagonal = NaN;
  try {
    for (let tried = ridge; ;) {
      gpu.write(failure, Uint32Array.of(NONE));
      c.pieces.forEach(({ first, end, data }, i) => {
        const bind = { c: data, l: pieceData(l, i), diagonal };
        const begin = { f: c.f, n: c.n, first, ridge: tried };
        gpu.run('edit/cholesky_begin', bind, begin, { groups: [padded - BLOCK * first, end - first] });
      });
      record(s, rung, { l, inverses, diagonal, pivots, failed: failure });
      const row = (await readU32(gpu, failure))[0] ?? NONE;
      const own = (await read(gpu, diagonal)).subarray(0, c.f);
      meanDiagonal = own.reduce((sum, x) => sum + x, 0) / c.f - tried;
      if (row === NONE) {
        const smallestPivot = (await read(gpu, pivots)).subarray(0, c.f).reduce((a, b) => Math.min(a, b));
        return { l, inverses, ridge: tried, smallestPivot, meanDiagonal, failed };
      }
      failed.push({ ridge: tried, row });
      if (!(meanDiagonal > 0) || !Number.isFinite(meanDiagonal) || tried > meanDiagonal)
        throw hopeless(c.f, failed);
      tried = tried === 0 ? Math.fround(EPS * meanDiagonal) : 10 * tried;
    }
  } finally {
    for (const t of [diagonal, pivots, failure]) s.release(t);
  }
}

/** Records a whole factorisation, in place in `l`. */
function record(
  s: Scope,
  forced: CholeskyRung | undefined,
  t: { l: Panels; inverses: Tensor; diagonal: Tensor; pivots: Tensor; failed: Tensor },
): void {
  const { gpu } = s;
  const { l, diagonal, inverses, pivots, failed } = t;
  const { n } = l;
  const rung = forced ?? choose(CHOLESKY, { n, q: 0, first: 0, end: 0 }, gpu.adapter);
  const flops = 2 * BLOCK ** 3;
  for (let q = 0; q < n; q += 1) {
    const panel = panelWindow(l, q);
    for (const { first, end } of batches(l, q)) {
      const left = panelWindow(l, first, end);
      const update = { n, q, first, end };
      const cost = { flops: flops * (end - first) * (n - q) };
      gpu.run(rung.kernel, { failed, left, panel }, { ...update }, gridOf(rung, update, gpu.adapter, cost));
    }
    const pivoting = { diagonal, panel, pivots, failed, inverses };
    gpu.run('edit/cholesky_diagonal', pivoting, { q, noise: NOISE }, { groups: 1 });
    const below = { groups: 4 * (n - q - 1), cost: { flops: flops * (n - q - 1) } };
    gpu.run('edit/cholesky_below', { inverses, panel }, { q }, below);
  }
}

/** The panels left of panel q, as many together as an update takes; those of one lie in one piece. */
function* batches({ pieces }: Panels, q: number): Generator<PanelRange> {
  for (const piece of pieces)
    for (let first = piece.first; first < Math.min(q, piece.end); first += TOGETHER)
      yield { first, end: Math.min(q, piece.end, first + TOGETHER) };
}

function hopeless(f: number, failed: readonly { ridge: number; row: number }[]): EditRefused {
  const last = failed.at(-1);
  return new EditRefused(
    `covariance: C [${f}, ${f}] has no Cholesky factor, not even with a ridge of ${last?.ridge} (row ${last?.row}). ` +
      'It holds numbers that are not finite, or no data. Build it again.',
    'covariance_singular',
  );
}
