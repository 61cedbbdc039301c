/** From the last hidden rows to a loss and back: the product with wte, softmax and its gradient. */
import { logsumexp, lossGradient, nll } from '../../models/losses.ts';
import type { Scope } from '../../gpu/scope.ts';
import { narrow } from '../../tensor/half.ts';
import { matmul } from '../../tensor/matmul.ts';
import { empty, upload, windows } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

const V = 50_257;
const D = 768;
/** One row is a step of generation, 8 a batch of it, 22 what the loss of an edit reads. */
const ROWS = [1, 8, 22] as const;
const LOSS_ROWS = 22;

function logitsCase(rows: number, dtype: 'f32' | 'f16', backward: boolean): BenchCase {
  const [k, n] = backward ? [V, D] : [D, V];
  return {
    name: backward ? 'dlogits·wte' : 'x·wteᵀ',
    shape: `${rows},${k},${n}${dtype === 'f16' ? ' f16' : ''}`,
    kernels: [],
    flops: 2 * rows * V * D,
    bytes: 4 * rows * (V + D) + (dtype === 'f16' ? 2 : 4) * V * D,
    prepare: (s) => {
      const x = numbers(rows * k, 1);
      const w = numbers(V * D, 2);
      if (dtype === 'f16') for (let i = 0; i < w.length; i += 1) w[i] = Math.round((w[i] ?? 0) * 1024) / 1024;
      const tx = upload(s, x, [rows, k], 'x');
      const wide = upload(s, w, [V, D], 'wte');
      const wte = dtype === 'f16' ? empty(s, [V, D], 'wte', 'f16') : wide;
      if (dtype === 'f16')
        for (const [from, to] of windows(s.gpu, V, 4 * D))
          narrow(s, wide.slice(from, to), wte.slice(from, to));
      const run = (scope: Scope): Tensor => matmul(scope, tx, wte, { transposeB: !backward });
      const [first, step] = backward ? [1, D] : [D, 1];
      const want = (e: number): number => {
        const [i, j] = [Math.floor(e / n), e % n];
        let sum = 0;
        for (let q = 0; q < k; q += 1) sum += (x[i * k + q] ?? NaN) * (w[j * first + q * step] ?? NaN);
        return sum;
      };
      return { run, check: () => worstError(s.gpu, run(s), want, { reduce: k, scale: 1 }) };
    },
  };
}

type LossOp = 'logsumexp' | 'nll' | 'loss_gradient';

function lossCase(op: LossOp): BenchCase {
  const n = LOSS_ROWS * V;
  const costs = {
    logsumexp: [4 * n, 4 * n],
    nll: [LOSS_ROWS, 16 * LOSS_ROWS],
    loss_gradient: [4 * n, 8 * n],
  };
  const [flops = 0, bytes = 0] = costs[op];
  return {
    name: op,
    shape: `${LOSS_ROWS}x${V}`,
    kernels: [`models/${op}`],
    flops,
    bytes,
    prepare: (s) => {
      const data = numbers(n, 3);
      const ids = Uint32Array.from({ length: LOSS_ROWS }, (_, i) => (i * 7919) % V);
      const logits = upload(s, data, [LOSS_ROWS, V], 'logits');
      const targets = upload(s, ids, [LOSS_ROWS], 'targets');
      const lse = logsumexp(s, logits);
      const run = (scope: Scope): Tensor => {
        if (op === 'logsumexp') return logsumexp(scope, logits);
        if (op === 'nll') return nll(scope, logits, targets, lse);
        return lossGradient(scope, logits, targets, lse, 1);
      };
      const lses = Array.from({ length: LOSS_ROWS }, (_, i) =>
        Math.log(data.subarray(i * V, (i + 1) * V).reduce((sum, x) => sum + Math.exp(x), 0)),
      );
      const x = (i: number, j: number): number => data[i * V + j] ?? NaN;
      const top = (i: number): number =>
        data.subarray(i * V, (i + 1) * V).reduce((a, b) => Math.max(a, b), -1);
      const want = (e: number): number => {
        if (op === 'nll') return (lses[e] ?? NaN) - x(e, ids[e] ?? 0);
        if (op === 'logsumexp') {
          const i = e >> 1;
          return e % 2 === 0 ? top(i) : (lses[i] ?? NaN) - top(i);
        }
        const [i, j] = [Math.floor(e / V), e % V];
        return Math.exp(x(i, j) - (lses[i] ?? NaN)) - (ids[i] === j ? 1 : 0);
      };
      return { run, check: () => worstError(s.gpu, run(s), want, { reduce: 40 ** 2, scale: 1 }) };
    },
  };
}

export const unembedFamily: Family = {
  name: 'unembed',
  title: 'logits over 50,257 tokens of width 768, the loss, and the way back',
  cases: () => [
    ...(['f32', 'f16'] as const).flatMap((dtype) => ROWS.map((rows) => logitsCase(rows, dtype, false))),
    logitsCase(LOSS_ROWS, 'f32', true),
    ...(['logsumexp', 'nll', 'loss_gradient'] as const).map(lossCase),
  ],
};
