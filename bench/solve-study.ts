/**
 * How exactly C x = k is solved, against float64, for conditions 1e2 … 1e8.
 *
 *   npx tsx bench/solve-study.ts [order = 3072] [conditions = 1e2,1e4,1e6,1e8] [exact | residual]
 *
 * `residual`: the residual in float64 on the CPU, on the same float32 matrix. `exact` also factorises in float64 (on
 * the CPU: minutes at 6400) and compares u. One row a condition.
 */
import process from 'node:process';
import { factorise } from '../src/edit/cholesky.ts';
import { solve, type Solution } from '../src/edit/solve.ts';
import { openGpu } from '../src/gpu/node.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { cholesky, product, solveFactored, withSpectrum } from '../test/reference/linear-algebra.ts';
import { uploadSymmetric } from '../test/symmetric.ts';

const f = Number(process.argv[2] ?? 3072);
const conditions = (process.argv[3] ?? '1e2,1e4,1e6,1e8').split(',').map(Number);
const exact = process.argv[4] !== 'residual';

let state = 1;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 31 - 1;
};
const norm = (x: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i += 1) sum += (x[i] ?? NaN) ** 2;
  return Math.sqrt(sum);
};

const gpu = await openGpu();
console.log(`# order ${f} on ${gpu.adapter.description}`);
console.log(
  'condition  ridge    pivot    factor ms  solve ms  refine  cg  claimed   float64   u against float64',
);
for (const condition of conditions) {
  const eigenvalues = Float64Array.from({ length: f }, (_, i) => condition ** (-i / (f - 1)));
  const a = Float32Array.from(withSpectrum(eigenvalues, random, 3));
  for (let i = 0; i < f; i += 1) for (let j = 0; j < i; j += 1) a[j * f + i] = a[i * f + j] ?? 0;
  const k = Float32Array.from({ length: f }, random);
  await gpu.scope(async (s) => {
    const c = uploadSymmetric(s, a, f);
    await gpu.sync();
    const start = performance.now();
    const factor = await factorise(s, c);
    const factored = performance.now();
    const [found] = (await solve(s, { c, factor }, upload(s, k, [f], 'k'))) as [Solution];
    const solved = performance.now();
    const residual = norm(product(a, f, found.x).map((value, i) => value - (k[i] ?? 0))) / norm(k);
    let error = '-';
    if (exact) {
      const { l, failed } = cholesky(a, f);
      const x = solveFactored(l, f, k);
      const length = norm(x);
      const u = await read(gpu, found.u);
      error =
        failed < 0
          ? norm(u.map((value, i) => value - (x[i] ?? 0) / length)).toExponential(1)
          : `row ${failed} fails`;
    }
    const cells = [
      condition.toExponential(0),
      found.ridge.toExponential(1),
      factor.smallestPivot.toExponential(1),
    ];
    const times = [factored - start, solved - factored].map((ms) => ms.toFixed(0));
    const steps = [found.refinements, found.cgSteps];
    const residuals = [found.residual, residual].map((value) => value.toExponential(1));
    console.log(
      [...cells, ...times, ...steps, ...residuals, error].map((cell) => String(cell).padEnd(9)).join(' '),
    );
  });
}
gpu.destroy();
