/** The tied unembedding: logits = x wteᵀ, in row windows of wte where one binding cannot hold it. */
import type { Scope } from '../gpu/scope.ts';
import { matmul } from '../tensor/matmul.ts';
import { empty } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { bytesOf, windows } from '../tensor/tensor.ts';

/**
 * @param x   [R, D] after the final layer norm
 * @param wte [V, D], f32 or f16
 * @returns   [R, V]
 */
export function unembed(s: Scope, x: Tensor, wte: Tensor): Tensor {
  const V = wte.rows;
  const parts = windows(s.gpu, V, wte.cols * bytesOf(wte.dtype)).map(([from, to]) => ({ from, width: to - from, rows: wte.slice(from, to) }));
  const [only] = parts;
  if (only && parts.length === 1) return matmul(s, x, wte, { transposeB: true });

  const free = s.gpu.open(); // the windows' own products need no tape: the whole is recorded below
  const logits = empty(s, [x.rows, V], 'logits');
  for (const { from, width, rows } of parts) {
    copyColumns(s, matmul(free, x, rows, { transposeB: true }), 0, logits, from, width);
  }
  free.close();
  s.tape?.record(logits, [x], (inner, gradient) => {
    const dx = empty(inner, x.shape, 'd_unembedded');
    parts.forEach(({ from, width, rows }, i) => {
      const columns = empty(inner, [x.rows, width], 'd_logits_window');
      copyColumns(inner, gradient, from, columns, 0, width);
      matmul(inner, columns, rows, { out: dx, accumulate: i > 0 });
    });
    return [dx];
  });
  return logits;
}

function copyColumns(s: Scope, x: Tensor, xAt: number, y: Tensor, yAt: number, columns: number): void {
  const params = { rows: x.rows, columns, x_stride: x.cols, x_at: xAt, y_stride: y.cols, y_at: yAt };
  s.gpu.run('tensor/copy_columns', { x, y }, params, { threads: x.rows * columns });
}
