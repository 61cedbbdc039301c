/** What memory gives: buffer to buffer, and by kernels that do nothing else. Bytes are counted read and written. */
import { gridOf } from '../../gpu/rung.ts';
import type { Rung } from '../../gpu/rung.ts';
import type { Scope } from '../../gpu/scope.ts';
import { empty, upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

/** Of n numbers, a multiple of 4. */
export const COPY: readonly Rung<{ readonly n: number }>[] = [
  // Four numbers at a time, four times a thread: 16 bytes a load, a sixteenth of the threads.
  {
    kernel: 'tensor/copy_quads',
    fits: ({ n }) => n % 4 === 0,
    grid: ({ n }) => ({ groups: Math.ceil(n / (16 * 64)) }),
  },
  // The definition: a thread for each number.
  { kernel: 'tensor/copy_1', fits: () => true, grid: ({ n }) => ({ threads: n }) },
];

const MEBIBYTES = [1, 16, 64] as const;

/** y = x by a kernel. */
export function copyKernel(s: Scope, rung: (typeof COPY)[number], x: Tensor, y: Tensor): void {
  const n = x.size;
  const grid = gridOf(rung, { n }, s.gpu.adapter, { bytes: 8 * n, shape: String(n) });
  s.gpu.run(rung.kernel, { x, y }, { n }, grid);
}

function copyCase(mebibytes: number, rung: (typeof COPY)[number] | undefined): BenchCase {
  const n = mebibytes * 2 ** 18;
  return {
    name: rung ? rung.kernel.replace(/^.*\//, '') : 'buffer',
    shape: `${mebibytes} MiB`,
    kernels: rung ? [rung.kernel] : [],
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
  cases: () =>
    MEBIBYTES.flatMap((size) => [undefined, ...COPY.toReversed()].map((rung) => copyCase(size, rung))),
};
