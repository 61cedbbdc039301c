import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { gridOf } from '../src/gpu/rung.ts';
import { headBlocks, headTriples, qkvWidth } from '../src/models/heads.ts';
import type { HeadLayout } from '../src/models/heads.ts';
import {
  LAYERNORM,
  LAYERNORM_BACKWARD,
  layernorm,
  rmsnormHeads,
  wholeRows,
} from '../src/models/layernorm.ts';
import type { LayernormRung, Stretches } from '../src/models/layernorm.ts';
import { Tape } from '../src/tensor/tape.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/rmsnorm.ts';

const test = suite('rmsnorm');
const EPS = 1e-6;

const whole = (rows: number, d: number): Stretches => wholeRows(rows, d, true);
/** As Params have it. */
const sizesOf = ({ rms: _, ...sizes }: Stretches) => sizes;

/** Whole rows: one element, about a workgroup's width, primes, SmolLM2's own; and heads, in blocks and q k v together. */
const SHAPES: Stretches[] = [
  ...[whole(1, 1), whole(3, 63), whole(2, 64), whole(5, 65), whole(4, 257), whole(70, 36), whole(3, 576)],
  { rows: 3, row: 40, parts: 3, first: 8, step: 8, d: 8, rms: true },
  { rows: 2, row: 36, parts: 3, first: 4, step: 12, d: 4, rms: true },
  { rows: 2, row: 21, parts: 2, first: 3, step: 9, d: 3, rms: true },
];

/** Every rung that fits, with its settings: the size of a workgroup, but where it is that of a subgroup. */
function rungs(ladder: readonly LayernormRung[], shape: Stretches) {
  return ladder
    .filter((rung) => rung.fits(shape, gpu.adapter))
    .flatMap((rung) => {
      const grid = gridOf(rung, shape, gpu.adapter);
      const sizes = rung.kernel.endsWith('_subgroup')
        ? [grid.overrides]
        : [16, 64, 256].map((WG) => ({ ...grid.overrides, WG }));
      return sizes.map((overrides) => ({ rung, grid: { ...grid, overrides } }));
    });
}

/** The stretches of a matrix side by side, [rows · parts, d], and back into a copy of it. */
const at = ({ row, parts, first, step, d }: Stretches, i: number): number => {
  const stretch = Math.floor(i / d);
  return Math.floor(stretch / parts) * row + first + (stretch % parts) * step + (i % d);
};
const pick = (shape: Stretches, x: ArrayLike<number>): Float64Array =>
  Float64Array.from({ length: shape.rows * shape.parts * shape.d }, (_, i) => x[at(shape, i)]!);
const put = (shape: Stretches, into: ArrayLike<number>, values: ArrayLike<number>): Float64Array => {
  const out = Float64Array.from(into);
  for (let i = 0; i < values.length; i += 1) out[at(shape, i)] = values[i]!;
  return out;
};

for (const mean of [0, 100])
  test(`every shape and workgroup, rows around ${mean}: forward and backward, nothing else is written`, async () => {
    for (const shape of SHAPES) {
      const { rows, row, d } = shape;
      const x = noise(rows * row, rows + d, mean, 3);
      const weight = noise(d, 2, 1, 0.3);
      const dy = noise(rows * row, 4);
      const run = async (rung: LayernormRung, grid: object, backward: boolean): Promise<Float32Array> =>
        gpu.scope(async (s) => {
          const out = wide(s, [rows, row]);
          gpu.write(out.t, new Float32Array(rows * row).fill(7));
          const operands = { x: tensor(s, x, [rows, row]), weight: tensor(s, weight, [d]) };
          const { weight: bias } = operands; // not looked at
          const more = backward ? { dy: tensor(s, dy, [rows, row]), dx: out.t } : { bias, y: out.t };
          gpu.run(rung.kernel, { ...operands, ...more }, { ...sizesOf(shape), eps: EPS }, grid);
          await out.canaries();
          return (await read(gpu, out.t)).subarray(0, rows * row);
        });
      const sevens = new Float64Array(rows * row).fill(7);
      const normed = reference.rmsnorm(pick(shape, x), weight, EPS);
      const slope = reference.rmsnormBackward(pick(shape, x), weight, pick(shape, dy), EPS);
      for (const { rung, grid } of rungs(LAYERNORM, shape))
        // A root of a mean of squares loses nothing to cancellation: numbers up to 4 σ, weights up to 2.
        allclose(
          `${rung.kernel} ${JSON.stringify(shape)}`,
          await run(rung, grid, false),
          put(shape, sevens, normed),
          {
            scale: 8,
          },
        );
      for (const { rung, grid } of rungs(LAYERNORM_BACKWARD, shape))
        // Two terms of up to |dy w|/σ and 4² |dy w|/σ, which may cancel; one number alone: 1/σ ⩽ 1/|x|.
        allclose(
          `${rung.kernel} ${JSON.stringify(shape)}`,
          await run(rung, grid, true),
          put(shape, sevens, slope),
          {
            scale: 32,
          },
        );
    }
  });

test('the reference gradient equals its central difference', () => {
  const [x, weight, dy] = [noise(14, 1, 1, 3), noise(7, 2), noise(14, 3)];
  const slope = centralDifference((a) => dot(reference.rmsnorm(a, weight, EPS), dy), x);
  allclose('slope', slope, reference.rmsnormBackward(x, weight, dy, EPS), { scale: 1 });
});

test('the op records its backward and checks its shapes', async () => {
  const tape = new Tape();
  await gpu.scope(async (s) => {
    const [data, w] = [noise(24, 1), noise(8, 2, 1)];
    const [x, weight] = [tensor(s, data, [3, 8]), tensor(s, w, [8])];
    tape.watch(x);
    const y = layernorm(s, x, weight, undefined, EPS);
    const want = reference.rmsnorm(data, w, EPS);
    allclose('op', await read(gpu, y), want, { scale: 8 });
    const dx = await read(gpu, tape.backward(s, y, x)); // seeded with y itself
    allclose('dx', dx, reference.rmsnormBackward(data, w, want, EPS), { scale: 32 });
    assert.throws(
      () => layernorm(s, x, tensor(s, noise(4, 2), [4]), undefined, EPS),
      /4 numbers, expected 8/,
    );
  }, tape);
});

const LAYOUTS: readonly [string, HeadLayout][] = [
  ['Qwen 3', headBlocks({ H: 4, KV: 2, S: 8 })],
  ['q k v by head', headTriples({ H: 2, S: 6 })],
];

for (const [name, heads] of LAYOUTS)
  test(`heads of q and k, each by itself: ${name}`, async () => {
    const { H, KV, S, stride: step, q, k } = heads;
    const [T, width] = [3, qkvWidth(heads)];
    const [data, wq, wk] = [noise(T * width, 1), noise(S, 2, 1, 0.3), noise(S, 3, 1, 0.3)];
    const both = [
      { shape: { rows: T, row: width, step, d: S, parts: H, first: q, rms: true }, w: wq },
      { shape: { rows: T, row: width, step, d: S, parts: KV, first: k, rms: true }, w: wk },
    ];
    let want: Float64Array = Float64Array.from(data);
    for (const { shape, w } of both) want = put(shape, want, reference.rmsnorm(pick(shape, data), w, EPS));
    let slope: Float64Array = Float64Array.from(want); // what passes through the values
    for (const { shape, w } of both)
      slope = put(shape, slope, reference.rmsnormBackward(pick(shape, data), w, pick(shape, want), EPS));
    const tape = new Tape();
    await gpu.scope(async (s) => {
      const qkv = tensor(s, data, [T, width]);
      tape.watch(qkv);
      const weights = { q: tensor(s, wq, [S]), k: tensor(s, wk, [S]) };
      const y = rmsnormHeads(s, qkv, weights, heads, EPS);
      allclose('forward', await read(gpu, y), want, { scale: 8 });
      assert.equal(await read(gpu, qkv), data, 'the input stays');
      allclose('backward', await read(gpu, tape.backward(s, y, qkv)), slope, { scale: 32 });
      const wrong = { ...weights, k: tensor(s, noise(S + 1, 1), [S + 1]) };
      assert.throws(() => rmsnormHeads(s, qkv, wrong, heads, EPS), /numbers, expected/);
    }, tape);
  });

test.run();
