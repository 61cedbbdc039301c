import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { COPY, copyKernel } from '../src/lab/bench/rows.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { gpu, noise, wide } from './gpu.ts';

const test = suite('copy');

for (const rung of COPY) {
  test(`${rung.kernel}: every element, and nothing behind them`, async () => {
    for (const n of [4, 252, 256, 1020, 1024, 1028, 70_000]) {
      await gpu.scope(async (s) => {
        const numbers = noise(n, n);
        const { t, canaries } = wide(s, [n]);
        copyKernel(s, rung, upload(s, numbers, [n], 'x'), t);
        assert.equal((await read(gpu, t)).subarray(0, n), numbers);
        await canaries();
      });
    }
  });
}

test.run();
