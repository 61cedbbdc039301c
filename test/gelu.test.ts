import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { gelu, geluBackward } from '../src/tensor/gelu.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/gelu.ts';

const test = suite('gelu');
/** Multiples of 4, as the kernels take four at a time: one, about a workgroup, and 4 times primes. */
const SIZES = [4, 252, 256, 260, 1028, 4124];
const WORKGROUPS = [32, 64, 256];

/** Noise of spread 3, and in front values where a careless tanh overflows. */
function inputs(n: number): Float32Array<ArrayBuffer> {
  const x = noise(n, n, 0, 3);
  x.set([0, -0, 1e4, -1e4, 11, -11, 3e38, -3e38].slice(0, Math.min(n, 8)));
  return x;
}

test('every size and workgroup equals the formula and stays inside its output', async () => {
  for (const n of SIZES)
    for (const WG of WORKGROUPS)
      await gpu.scope(async (s) => {
        const x = inputs(n);
        const y = wide(s, [n]);
        gpu.run(
          'tensor/gelu',
          { x: tensor(s, x, [n]), y: y.t },
          { n },
          { threads: n / 4, overrides: { WG } },
        );
        // 1 and tanh z are the terms, for |x| up to 1; beyond, the result itself is the scale.
        allclose(
          `gelu ${n}/${WG}`,
          await read(gpu, y.t).then((all) => all.subarray(0, n)),
          Array.from(x, reference.gelu),
          { scale: 1 },
        );
        await y.canaries();
      });
});

test('the negative tail keeps its relative accuracy', async () => {
  await gpu.scope(async (s) => {
    const x = Float32Array.from({ length: 44 }, (_, i) => -i / 9);
    const want = Array.from(x, reference.gelu);
    // exp(2z) magnifies one rounding of 2z, |2z| < 18, as a sum of 18² terms would.
    allclose('tail', await read(gpu, gelu(s, tensor(s, x, [44]))), want, { reduce: 18 ** 2 });
  });
});

test('the reference slope equals its central difference', () => {
  const x = noise(40, 3, 0, 2);
  const dy = noise(40, 4);
  const slope = centralDifference((at) => dot(Array.from(at, reference.gelu), dy), x);
  allclose(
    'slope',
    Float32Array.from(slope),
    Array.from(x, (v, i) => reference.geluSlope(v) * dy[i]!),
    { scale: 1 },
  );
});

test('backward equals the reference at every size and workgroup', async () => {
  for (const n of SIZES)
    for (const WG of WORKGROUPS)
      await gpu.scope(async (s) => {
        const x = inputs(n);
        const dy = noise(n, n + 1);
        const dx = wide(s, [n]);
        const bindings = { x: tensor(s, x, [n]), dy: tensor(s, dy, [n]), dx: dx.t };
        gpu.run('tensor/gelu_backward', bindings, { n }, { threads: n / 4, overrides: { WG } });
        const want = Array.from(x, (v, i) => reference.geluSlope(Math.max(-30, Math.min(30, v))) * dy[i]!);
        // x g (1 - g) 2z' stays below 5 in magnitude before it cancels
        allclose(`gelu_backward ${n}/${WG}`, (await read(gpu, dx.t)).subarray(0, n), want, { scale: 5 });
        await dx.canaries();
      });
});

test('the ops dispatch these kernels and return all memory', async () => {
  const before = gpu.liveBytes;
  await gpu.scope(async (s) => {
    const x = inputs(300);
    const dy = noise(300, 9);
    const xt = tensor(s, x, [3, 100]);
    const y = gelu(s, xt);
    assert.equal(y.shape, [3, 100]);
    allclose('gelu', await read(gpu, y), Array.from(x, reference.gelu), { scale: 1 });
    const dx = geluBackward(s, xt, tensor(s, dy, [3, 100]));
    const want = Array.from(x, (v, i) => reference.geluSlope(Math.max(-30, Math.min(30, v))) * dy[i]!);
    allclose('dx', await read(gpu, dx), want, { scale: 5 });
    assert.throws(() => gelu(s, tensor(s, noise(6, 1), [6])), /6 elements, not a multiple of 4/);
    assert.throws(() => geluBackward(s, xt, tensor(s, dy, [300])), /shapes differ/);
  });
  assert.is(gpu.liveBytes, before);
});

test.run();
