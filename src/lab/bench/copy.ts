/** What memory gives: buffer to buffer, and by kernels that do nothing else. Bytes are counted read and written. */
import type { Scope } from '../../gpu/scope.ts';
import { empty, upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

export const COPY_RUNGS = ['tensor/copy_1', 'tensor/copy_2'] as const;
export type CopyRung = (typeof COPY_RUNGS)[number];

const WG = 64; // of both rungs
const MEBIBYTES = [1, 16, 64] as const;

/** y = x by a kernel; sizes are multiples of 4. */
export function copyKernel(s: Scope, rung: CopyRung, x: Tensor, y: Tensor): void {
  const n = x.size;
  const threads = rung === 'tensor/copy_1' ? n : WG * Math.ceil(n / (16 * WG));
  s.gpu.run(rung, { x, y }, { n }, { threads, cost: { bytes: 8 * n, shape: String(n) } });
}

function copyCase(mebibytes: number, rung: CopyRung | undefined): BenchCase {
  const n = mebibytes * 2 ** 18;
  return {
    name: rung ? rung.slice('tensor/'.length) : 'buffer',
    shape: `${mebibytes} MiB`,
    kernels: rung ? [rung] : [],
    flops: 0,
    bytes: 8 * n,
    prepare: (s) => {
      const data = numbers(n, 1);
      const x = upload(s, data, [n], 'x');
      const y = empty(s, [n], 'y');
      const run = (scope: Scope): void => (rung ? copyKernel(scope, rung, x, y) : s.gpu.copy(x, y));
      const check = (): Promise<number> => {
        run(s);
        return worstError(s.gpu, y, (i) => data[i] ?? NaN, { reduce: 0, scale: 0 });
      };
      return { run, check };
    },
  };
}

export const copyFamily: Family = {
  name: 'copy',
  title: 'copies; bytes read and written',
  cases: () => MEBIBYTES.flatMap((size) => [undefined, ...COPY_RUNGS].map((rung) => copyCase(size, rung))),
};
