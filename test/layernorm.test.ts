import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  LAYERNORM,
  LAYERNORM_BACKWARD,
  layernorm,
  layernormBackward,
  wholeRows,
} from '../src/models/layernorm.ts';
import type { LayernormRung } from '../src/models/layernorm.ts';
import { gridOf } from '../src/gpu/rung.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/layernorm.ts';

const test = suite('layernorm');
const EPS = 1e-5;

/** [rows, D]: one element, about a workgroup's width, primes, and GPT-2's own. */
const SHAPES: [number, number][] = [
  [1, 1],
  [3, 63],
  [2, 64],
  [5, 65],
  [4, 257],
  [2, 4],
  [70, 36],
  [7, 768],
  [1, 1600],
];

const sizes = (rows: number, d: number) => ({ rows, row: d, parts: 1, first: 0, step: d, d });

/** Every rung that fits, with its settings: the size of a workgroup, but where it is that of a subgroup. */
function rungs(ladder: readonly LayernormRung[], rows: number, d: number) {
  return ladder
    .filter((rung) => rung.fits(wholeRows(rows, d), gpu.adapter))
    .flatMap((rung) => {
      const grid = gridOf(rung, wholeRows(rows, d), gpu.adapter);
      const settings = rung.kernel.endsWith('_subgroup')
        ? [grid.overrides]
        : [{ WG: 16 }, { WG: 64 }, { WG: 256 }];
      return settings.map((overrides) => ({ rung, grid: { ...grid, overrides } }));
    });
}

for (const mean of [0, 100])
  test(`every shape and workgroup, rows around ${mean}`, async () => {
    for (const [rows, d] of SHAPES)
      for (const { rung, grid } of rungs(LAYERNORM, rows, d))
        await gpu.scope(async (s) => {
          const x = noise(rows * d, rows + d, mean, 3);
          const weight = noise(d, 2, 1, 0.3);
          const bias = noise(d, 3);
          const y = wide(s, [rows, d]);
          const bindings = {
            x: tensor(s, x, [rows, d]),
            weight: tensor(s, weight, [d]),
            bias: tensor(s, bias, [d]),
            y: y.t,
          };
          gpu.run(rung.kernel, bindings, { ...sizes(rows, d), eps: EPS }, grid);
          // x and μ, both about |x| in size, cancel, and their difference is divided by σ: |x|/σ · weight is the scale
          const scale = d === 1 ? 1 : (mean / 3 + 4) * 2;
          const got = (await read(gpu, y.t)).subarray(0, rows * d);
          allclose(
            `${rung.kernel}: ${rows}x${d} ${JSON.stringify(grid.overrides)}`,
            got,
            reference.layernorm(x, weight, bias, EPS),
            { scale },
          );
          await y.canaries();
        });
  });

for (const mean of [0, 100])
  test(`gradient: every shape and workgroup, rows around ${mean}`, async () => {
    for (const [rows, d] of SHAPES)
      for (const { rung, grid } of rungs(LAYERNORM_BACKWARD, rows, d))
        await gpu.scope(async (s) => {
          const x = noise(rows * d, rows + d, mean, 3);
          const weight = noise(d, 2, 1, 0.3);
          const dy = noise(rows * d, 4);
          const dx = wide(s, [rows, d]);
          const bindings = {
            x: tensor(s, x, [rows, d]),
            weight: tensor(s, weight, [d]),
            dy: tensor(s, dy, [rows, d]),
            dx: dx.t,
          };
          gpu.run(rung.kernel, bindings, { ...sizes(rows, d), eps: EPS }, grid);
          const want = reference.layernormBackward(x, weight, dy, EPS);
          // dx is 1/σ times terms as large as dy and x̂, and x̂ loses |x|/σ roundings. One column: everything
          // cancels and 1/σ = 1/√ε.
          const scale = d === 1 ? 4 / Math.sqrt(EPS) : (mean / 3 + 4) * 2;
          allclose(
            `${rung.kernel}: ${rows}x${d} ${JSON.stringify(grid.overrides)}`,
            (await read(gpu, dx.t)).subarray(0, rows * d),
            want,
            {
              scale,
            },
          );
          await dx.canaries();
        });
  });

test('the reference gradient equals its central difference', () => {
  const [x, weight, dy] = [noise(14, 1, 5, 3), noise(7, 2), noise(14, 3)];
  const slope = centralDifference((at) => dot(reference.layernorm(at, weight, dy, EPS), dy), x);
  allclose('slope', slope, reference.layernormBackward(x, weight, dy, EPS), { scale: 1 });
});

test('the op checks its shapes', async () => {
  await gpu.scope(async (s) => {
    const x = tensor(s, noise(8, 1), [2, 4]);
    const four = tensor(s, noise(4, 2), [4]);
    const five = tensor(s, noise(5, 3), [5]);
    assert.throws(() => layernorm(s, x, four, five, EPS), /5 numbers, expected 4/);
    const want = reference.layernorm(noise(8, 1), noise(4, 2), noise(4, 2), EPS);
    allclose('op', await read(gpu, layernorm(s, x, four, four, EPS)), want, { scale: 8 });
    const dx = await read(gpu, layernormBackward(s, x, four, x, EPS));
    allclose('dx', dx, reference.layernormBackward(noise(8, 1), noise(4, 2), noise(8, 1), EPS), { scale: 8 });
    assert.throws(() => layernormBackward(s, x, four, four, EPS), /shapes differ/);
  });
});

test.run();
