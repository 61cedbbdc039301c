/** S += KᵀK, rung by rung. */
import { SECOND_MOMENT, addOuterProducts } from '../../edit/second-moment.ts';
import type { SecondMomentRung } from '../../edit/second-moment.ts';
import { BLOCK, zeroPanels } from '../../edit/panels.ts';
import type { Scope } from '../../gpu/scope.ts';
import { upload } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';
import { placeOf } from './symmetric.ts';

/** Tokens of a chunk, and F of GPT-2 small and XL. The definition is too slow for more than the first. */
const SIZES = [
  [128, 3072],
  [512, 3072],
  [512, 6400],
] as const;

function secondMomentCase(tokens: number, f: number, rung: SecondMomentRung): BenchCase {
  return {
    name: rung.kernel.replace(/^.*\//, ''),
    shape: `${tokens},${f}`,
    kernels: [rung.kernel],
    flops: f * f * tokens,
    bytes: 4 * f * tokens + 4 * f * f,
    prepare: (s) => {
      const data = numbers(tokens * f, 1);
      const keys = upload(s, data, [tokens, f], 'keys');
      const sum = zeroPanels(s, f, 'sum');
      const run = (scope: Scope): void => addOuterProducts(scope, sum, keys, 0, tokens, rung);
      const want = (e: number): number => {
        const [i, j] = placeOf(e, f);
        let total = 0;
        for (let t = 0; t < tokens; t += 1) total += (data[t * f + i] ?? NaN) * (data[t * f + j] ?? NaN);
        return total;
      };
      const check = (): Promise<number> => {
        run(s);
        return worstError(s.gpu, sum.data, want, { reduce: tokens, scale: 1 });
      };
      return { run, check };
    },
  };
}

export const secondMomentFamily: Family = {
  name: 'second_moment',
  title: 'S += KᵀK; tokens, F',
  cases: ({ adapter }) =>
    SIZES.flatMap(([tokens, f], i) =>
      SECOND_MOMENT.toReversed()
        .slice(i === 0 ? 0 : 1)
        .filter((rung) => rung.fits({ f, n: Math.ceil(f / BLOCK) }, adapter))
        .map((rung) => secondMomentCase(tokens, f, rung)),
    ),
};
