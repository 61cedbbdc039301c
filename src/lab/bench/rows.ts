/** Ops that go through rows once: copies, GELU, layer normalisation, and from logits to a loss. */
import { gridOf, type Rung } from '../../gpu/rung.ts';
import type { Scope } from '../../gpu/scope.ts';
import {
  LAYERNORM,
  LAYERNORM_BACKWARD,
  layernorm,
  layernormBackward,
  wholeRows,
} from '../../models/layernorm.ts';
import type { LayernormRung } from '../../models/layernorm.ts';
import { logsumexp, lossGradient, nll } from '../../models/losses.ts';
import { gelu, geluBackward } from '../../tensor/activations.ts';
import { empty, indices, upload, type Tensor } from '../../tensor/tensor.ts';
import { numbers, prepared, shortName, type BenchCase, type Family } from './family.ts';
import { productCase } from './matmul.ts';

type CopyRung = Rung<{ readonly n: number }>;

/** y = x, of n numbers. */
export const COPY: readonly CopyRung[] = [
  // Four numbers at a time, four times a thread: 16 bytes a load, a sixteenth of the threads.
  {
    kernel: 'tensor/copy_quads',
    fits: ({ n }) => n % 4 === 0,
    grid: ({ n }) => ({ groups: Math.ceil(n / (16 * 64)) }),
  },
  // The definition: a thread for each number.
  { kernel: 'tensor/copy_1', fits: () => true, grid: ({ n }) => ({ threads: n }) },
];

/** y = x by a kernel. */
export function copyKernel(s: Scope, rung: CopyRung, x: Tensor, y: Tensor): void {
  const n = x.size;
  const grid = gridOf(rung, { n }, s.gpu.adapter, { bytes: 8 * n, shape: String(n) });
  s.gpu.run(rung.kernel, { x, y }, { n }, grid);
}

function copyCase(mebibytes: number, rung: CopyRung | undefined): BenchCase {
  const n = mebibytes * 2 ** 18;
  return {
    name: rung ? shortName(rung.kernel) : 'buffer',
    shape: `${mebibytes} MiB`,
    kernels: rung ? [rung.kernel] : [],
    flops: 0,
    bytes: 8 * n,
    prepare: (s) => {
      const data = numbers(n, 1);
      const [x, y] = [upload(s, data, [n], 'x'), empty(s, [n], 'y')];
      const run = (scope: Scope): Tensor => {
        if (rung) copyKernel(scope, rung, x, y);
        else s.gpu.copy(x, y);
        return y;
      };
      return prepared(s, run, (i) => data[i] ?? NaN, { reduce: 0, scale: 0 });
    },
  };
}

export const copyFamily: Family = {
  name: 'copy',
  title: 'copies, MiB; bytes read and written',
  sizes: ['MIB'],
  shapes: [[1], [16], [64]],
  cases: (_, [mebibytes = 1]) => [...COPY, undefined].map((rung) => copyCase(mebibytes, rung)),
};

/** GELU in its tanh form and its derivative, in float64. */
function geluReference(x: number): { y: number; slope: number } {
  const scale = Math.sqrt(2 / Math.PI);
  const t = Math.tanh(scale * (x + 0.044715 * x ** 3));
  const inner = scale * (1 + 3 * 0.044715 * x ** 2);
  return { y: 0.5 * x * (1 + t), slope: 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner };
}

function geluCase(rows: number, cols: number, backward: boolean): BenchCase {
  const n = rows * cols;
  const name = backward ? 'gelu_backward' : 'gelu';
  return {
    name,
    shape: `${rows}x${cols}`,
    kernels: [`tensor/${name}`],
    flops: (backward ? 18 : 10) * n,
    bytes: (backward ? 12 : 8) * n,
    prepare: (s) => {
      const data = numbers(n, 3).map((x) => 3 * x);
      const slopes = numbers(n, 4);
      const [x, dy] = [upload(s, data, [rows, cols], 'x'), upload(s, slopes, [rows, cols], 'dy')];
      const run = (scope: Scope): Tensor => (backward ? geluBackward(scope, x, dy) : gelu(scope, x));
      const want = (i: number): number => {
        const { y, slope } = geluReference(data[i] ?? NaN);
        return backward ? slope * (slopes[i] ?? NaN) : y;
      };
      return prepared(s, run, want, { reduce: 8, scale: 3 });
    },
  };
}

export const geluFamily: Family = {
  name: 'gelu',
  title: 'gelu, its gradient; rows x columns',
  sizes: ['ROWS', 'COLUMNS'],
  // The MLPs of an edit's suffix, and of a whole pass over its contexts.
  shapes: [
    [64, 3072],
    [440, 3072],
    [440, 6400],
  ],
  cases: (_, [rows = 1, cols = 1]) => [false, true].map((backward) => geluCase(rows, cols, backward)),
};

const LAYERNORM_EPS = 1e-5;

function layernormCase(rows: number, d: number, backward: boolean, rung: LayernormRung): BenchCase {
  const n = rows * d;
  return {
    name: shortName(rung.kernel),
    shape: `${rows}x${d}`,
    kernels: [rung.kernel],
    flops: (backward ? 15 : 8) * n,
    bytes: (backward ? 12 : 8) * n,
    prepare: (s) => {
      const [data, slopes, gain, offset] = [numbers(n, 5), numbers(n, 6), numbers(d, 7), numbers(d, 8)];
      const [x, dy] = [upload(s, data, [rows, d], 'x'), upload(s, slopes, [rows, d], 'dy')];
      const [weight, bias] = [upload(s, gain, [d], 'weight'), upload(s, offset, [d], 'bias')];
      const run = (scope: Scope): Tensor =>
        backward
          ? layernormBackward(scope, x, weight, dy, LAYERNORM_EPS, false, rung)
          : layernorm(scope, x, weight, bias, LAYERNORM_EPS, rung);
      const want = (i: number): number => {
        const [from, j] = [i - (i % d), i % d];
        const row = data.subarray(from, from + d);
        const mean = row.reduce((sum, value) => sum + value, 0) / d;
        const sigma = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d + LAYERNORM_EPS);
        const normed = (q: number): number => ((row[q] ?? NaN) - mean) / sigma;
        if (!backward) return normed(j) * (gain[j] ?? NaN) + (offset[j] ?? NaN);
        const g = (q: number): number => (slopes[from + q] ?? NaN) * (gain[q] ?? NaN);
        let [sum, product] = [0, 0];
        for (let q = 0; q < d; q += 1) [sum, product] = [sum + g(q), product + g(q) * normed(q)];
        return (g(j) - sum / d - (normed(j) * product) / d) / sigma;
      };
      return prepared(s, run, want, { reduce: d, scale: 2 });
    },
  };
}

export const layernormFamily: Family = {
  name: 'layernorm',
  title: 'layer normalisation, its gradient; rows x D',
  sizes: ['ROWS', 'D'],
  shapes: [
    [64, 768],
    [440, 768],
    [440, 1600],
  ],
  cases: ({ adapter }, [rows = 1, d = 1]) =>
    [LAYERNORM, LAYERNORM_BACKWARD].flatMap((ladder) =>
      ladder
        .filter((rung) => rung.fits(wholeRows(rows, d), adapter))
        .map((rung) => layernormCase(rows, d, ladder === LAYERNORM_BACKWARD, rung)),
    ),
};

/** What a loss does with [rows, V] logits, and how much work that is. */
const LOSSES = {
  logsumexp: (n: number) => ({ flops: 4 * n, bytes: 4 * n }),
  nll: (_: number, rows: number) => ({ flops: rows, bytes: 16 * rows }),
  loss_gradient: (n: number) => ({ flops: 4 * n, bytes: 8 * n }),
};

function lossCase(op: keyof typeof LOSSES, rows: number, V: number): BenchCase {
  const n = rows * V;
  return {
    name: op,
    shape: `${rows}x${V}`,
    kernels: [`models/${op}`],
    ...LOSSES[op](n, rows),
    prepare: (s) => {
      const data = numbers(n, 3);
      const ids = Uint32Array.from({ length: rows }, (_, i) => (i * 7919) % V);
      const [logits, targets] = [upload(s, data, [rows, V], 'logits'), upload(s, ids, [rows], 'targets')];
      const lse = logsumexp(s, logits);
      const all = indices(s, [...ids.keys()], 'rows');
      const ones = upload(s, new Float32Array(rows).fill(1), [rows], 'weights');
      const run = (scope: Scope): Tensor => {
        if (op === 'logsumexp') return logsumexp(scope, logits);
        if (op === 'nll') return nll(scope, logits, all, targets, lse);
        return lossGradient(scope, logits, targets, lse, ones);
      };
      const row = (i: number): Float32Array => data.subarray(i * V, (i + 1) * V);
      const sums = Array.from({ length: rows }, (_, i) =>
        Math.log(row(i).reduce((sum, x) => sum + Math.exp(x), 0)),
      );
      const want = (e: number): number => {
        const per = { logsumexp: 2, nll: 1, loss_gradient: V }[op];
        const [i, j] = [Math.floor(e / per), e % per];
        const total = sums[i] ?? NaN;
        if (op === 'nll') return total - (row(i)[ids[i] ?? 0] ?? NaN);
        if (op === 'loss_gradient') return Math.exp((row(i)[j] ?? NaN) - total) - (ids[i] === j ? 1 : 0);
        const top = row(i).reduce((a, b) => Math.max(a, b), -1);
        return j === 0 ? top : total - top;
      };
      return prepared(s, run, want, { reduce: 40 ** 2, scale: 1 });
    },
  };
}

export const unembedFamily: Family = {
  name: 'unembed',
  title: 'logits of all V tokens from width D, the loss, and the way back; rows, D, V',
  sizes: ['ROWS', 'D', 'V'],
  // One row is a step of generation, 8 a batch of it, 22 what the loss of an edit reads.
  shapes: [1, 8, 22].map((rows) => [rows, 768, 50_257]),
  cases: (_, [rows = 1, D = 1, V = 1]) => [
    ...(['f32', 'f16'] as const).map((dtype) =>
      productCase([rows, D, V], { transposeB: true, dtype }, { name: 'x·wteᵀ' }),
    ),
    productCase([rows, V, D], { transposeB: false, dtype: 'f32' }, { name: 'dlogits·wte' }),
    ...(['logsumexp', 'nll', 'loss_gradient'] as const).map((op) => lossCase(op, rows, V)),
  ],
};
