/** Layer normalisation and its gradient. */
import { LAYERNORM, LAYERNORM_BACKWARD, layernorm, layernormBackward } from '../../models/layernorm.ts';
import type { LayernormRung } from '../../models/layernorm.ts';
import type { Scope } from '../../gpu/scope.ts';
import { upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

const SIZES = [
  [64, 768],
  [440, 768],
  [440, 1600],
] as const;
const EPS = 1e-5;

function layernormCase(rows: number, d: number, backward: boolean, rung: LayernormRung): BenchCase {
  const n = rows * d;
  return {
    name: rung.kernel.replace(/^.*\//, ''),
    shape: `${rows}x${d}`,
    kernels: [rung.kernel],
    flops: (backward ? 15 : 8) * n,
    bytes: (backward ? 12 : 8) * n,
    prepare: (s) => {
      const [data, slopes, gain, offset] = [numbers(n, 5), numbers(n, 6), numbers(d, 7), numbers(d, 8)];
      const x = upload(s, data, [rows, d], 'x');
      const dy = upload(s, slopes, [rows, d], 'dy');
      const weight = upload(s, gain, [d], 'weight');
      const bias = upload(s, offset, [d], 'bias');
      const run = (scope: Scope): Tensor =>
        backward
          ? layernormBackward(scope, x, weight, dy, EPS, rung)
          : layernorm(scope, x, weight, bias, EPS, rung);
      const want = (i: number): number => {
        const [from, j] = [i - (i % d), i % d];
        const row = data.subarray(from, from + d);
        const mean = row.reduce((sum, value) => sum + value, 0) / d;
        const sigma = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d + EPS);
        const normed = (q: number): number => ((row[q] ?? NaN) - mean) / sigma;
        if (!backward) return normed(j) * (gain[j] ?? NaN) + (offset[j] ?? NaN);
        const g = (q: number): number => (slopes[from + q] ?? NaN) * (gain[q] ?? NaN);
        let [sum, product] = [0, 0];
        for (let q = 0; q < d; q += 1) [sum, product] = [sum + g(q), product + g(q) * normed(q)];
        return (g(j) - sum / d - (normed(j) * product) / d) / sigma;
      };
      return { run, check: () => worstError(s.gpu, run(s), want, { reduce: d, scale: 2 }) };
    },
  };
}

export const layernormFamily: Family = {
  name: 'layernorm',
  title: 'layer normalisation, its gradient; rows x D',
  cases: ({ adapter }) =>
    SIZES.flatMap(([rows, d]) =>
      [LAYERNORM, LAYERNORM_BACKWARD].flatMap((ladder) =>
        ladder
          .filter((rung) => rung.fits({ rows, d }, adapter))
          .toReversed()
          .map((rung) => layernormCase(rows, d, ladder === LAYERNORM_BACKWARD, rung)),
      ),
    ),
};
