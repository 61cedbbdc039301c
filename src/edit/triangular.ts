/**
 * L⁻¹ in row panels, so that solves with any number of right-hand sides are a few large products:
 *
 *   Y = B L⁻ᵀ (L y = b for every row),   Z = Y L⁻¹ (Lᵀ z = y for every row)
 *
 * L⁻¹ is made once, by forward substitution with the identity as right-hand side: rows of blocks from the top, those of
 * a panel together, F³ / 3 flops. Its error is that of the substitution itself (Higham 2002, section 14.2), and a solve
 * by it is as good as the refinement after it takes it (mass-update.ts). One key is solved for in product.ts instead,
 * where making L⁻¹ would cost more than it gives.
 */
import type { Scope } from '../gpu/scope.ts';
import { matmul } from '../tensor/matmul.ts';
import { type Tensor, empty, upload } from '../tensor/tensor.ts';
import type { Factor } from './cholesky.ts';
import { BLOCK } from './panels.ts';

/** Rows of a panel; the last one has fewer. */
const ROWS = 4 * BLOCK;

/** L⁻¹ of order F: panel i holds rows 256 i … and columns up to the diagonal, [rows, 256 i + rows]. */
export interface InverseRows {
  readonly f: number;
  readonly panels: readonly Tensor[];
}

/** L⁻¹ from L and the inverses of its diagonal blocks; it belongs to `owner`. */
export function invertFactor(owner: Scope, { l, inverses }: Pick<Factor, 'l' | 'inverses'>): InverseRows {
  const { f, n, pieces } = l;
  const panels: Tensor[] = [];
  for (let first = 0; first < f; first += ROWS) {
    const blocks = Math.min(ROWS, n * BLOCK - first) / BLOCK;
    const [rows, cols] = [blocks * BLOCK, Math.min(f, first + blocks * BLOCK)];
    const whole = empty(owner, [rows, cols], 'inverse_rows');
    owner.gpu.record((s) => {
      const minusL = empty(s, [rows, cols], 'minus_l');
      for (const piece of pieces) {
        const width = Math.min(cols, BLOCK * piece.end) - BLOCK * piece.first;
        if (width <= 0) break;
        const params = { n, first: piece.first, end: piece.end, row: first, rows, cols };
        owner.gpu.run('edit/lower_rows', { l: piece.data, y: minusL }, params, { threads: rows * width });
      }
      // B = I − Σ_j L_ij L⁻¹_j over panels above
      const right = upload(s, identityFrom(first, rows, cols), [rows, cols], 'right_side');
      panels.forEach((above, j) =>
        matmul(s, minusL, above, { out: right, accumulate: true, window: { a: j * ROWS } }),
      );
      // and within the panel, block by block: L⁻¹_r = X_r (B_r − Σ_q L_rq L⁻¹_q)
      for (let r = 0; r < blocks; r += 1) {
        const at = BLOCK * r;
        const block = right.slice(at, at + BLOCK);
        const left = minusL.slice(at, at + BLOCK);
        if (r > 0)
          matmul(s, left, whole.slice(0, at), { out: block, accumulate: true, window: { a: first } });
        const x = inverses.slice(first + at, first + at + BLOCK);
        matmul(s, x, block, { out: whole.slice(at, at + BLOCK) });
      }
    });
    panels.push(whole.slice(0, Math.min(f - first, rows)));
  }
  return { f, panels };
}

/** Y = B L⁻ᵀ: L y = b for every row of b [N, F]. */
export function solveLower(s: Scope, { f, panels }: InverseRows, b: Tensor): Tensor {
  const y = empty(s, [b.rows, f], 'y');
  panels.forEach((panel, i) => matmul(s, b, panel, { transposeB: true, out: y, window: { out: i * ROWS } }));
  return y;
}

/** Z = Y L⁻¹: Lᵀ z = y for every row of y [N, F]. */
export function solveUpper(s: Scope, { f, panels }: InverseRows, y: Tensor): Tensor {
  const z = empty(s, [y.rows, f], 'z');
  // The widest first: it writes every column, the others add.
  for (let i = panels.length - 1; i >= 0; i -= 1)
    matmul(s, y, panels[i] as Tensor, {
      out: z,
      accumulate: i < panels.length - 1,
      window: { a: i * ROWS },
    });
  return z;
}

/** Rows `first` … of the identity. */
function identityFrom(first: number, rows: number, cols: number): Float32Array<ArrayBuffer> {
  const identity = new Float32Array(rows * cols);
  for (let i = 0; i < rows && first + i < cols; i += 1) identity[i * cols + first + i] = 1;
  return identity;
}
