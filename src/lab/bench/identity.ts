/** C = I: what an edit costs without a covariance. */
import type { Solver } from '../../edit/solver.ts';
import { read, upload } from '../../tensor/tensor.ts';

export const identity: Solver = {
  key: 'identity',
  async direction(s, key) {
    const k = await read(s.gpu, key);
    const norm = Math.hypot(...k);
    const u = upload(
      s,
      k.map((x) => x / norm),
      [k.length],
      'u',
    );
    return { u, solved: { residual: 0, ridge: 0, tokens: 0 } };
  },
};
