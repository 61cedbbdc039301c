/** GELU and its gradient. */
import type { Scope } from '../../gpu/scope.ts';
import { gelu, geluBackward } from '../../tensor/gelu.ts';
import { upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

/** The MLPs of an edit's suffix, and of a whole pass over its contexts. */
const SIZES = [
  [64, 3072],
  [440, 3072],
  [440, 6400],
] as const;

const SCALE = Math.sqrt(2 / Math.PI);

/** GELU in its tanh form and its derivative, in float64. */
function reference(x: number): { y: number; slope: number } {
  const t = Math.tanh(SCALE * (x + 0.044715 * x ** 3));
  const inner = SCALE * (1 + 3 * 0.044715 * x ** 2);
  return { y: 0.5 * x * (1 + t), slope: 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner };
}

function geluCase(rows: number, cols: number, backward: boolean): BenchCase {
  const n = rows * cols;
  return {
    name: backward ? 'gelu_backward' : 'gelu',
    shape: `${rows}x${cols}`,
    kernels: [backward ? 'tensor/gelu_backward' : 'tensor/gelu'],
    flops: (backward ? 18 : 10) * n,
    bytes: (backward ? 12 : 8) * n,
    prepare: (s) => {
      const data = numbers(n, 3).map((x) => 3 * x);
      const slopes = numbers(n, 4);
      const x = upload(s, data, [rows, cols], 'x');
      const dy = upload(s, slopes, [rows, cols], 'dy');
      const run = (scope: Scope): Tensor => (backward ? geluBackward(scope, x, dy) : gelu(scope, x));
      const want = (i: number): number => {
        const { y, slope } = reference(data[i] ?? NaN);
        return backward ? slope * (slopes[i] ?? NaN) : y;
      };
      return { run, check: () => worstError(s.gpu, run(s), want, { reduce: 8, scale: 3 }) };
    },
  };
}

export const geluFamily: Family = {
  name: 'gelu',
  title: 'gelu, its gradient; rows x columns',
  cases: () => SIZES.flatMap(([rows, cols]) => [false, true].map((back) => geluCase(rows, cols, back))),
};
