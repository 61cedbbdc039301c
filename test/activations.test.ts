import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  gelu,
  geluBackward,
  geluErf,
  geluErfBackward,
  siluGate,
  siluGateBackward,
} from '../src/tensor/activations.ts';
import { gpu, noise, read, tensor, wide } from './gpu.ts';
import { Tape } from '../src/tensor/tape.ts';
import { allclose } from './reference/allclose.ts';
import { centralDifference, dot } from './reference/difference.ts';
import * as reference from './reference/activations.ts';

const test = suite('activations');
/** Multiples of 4, as the kernels take four at a time: one, about a workgroup, and 4 times primes. */
const SIZES = [4, 252, 256, 260, 1028, 4124];
const WORKGROUPS = [32, 64, 256];

const FORMS = [
  { kernel: 'tensor/gelu', op: gelu, backward: geluBackward, f: reference.gelu, slope: reference.geluSlope },
  {
    ...{ kernel: 'tensor/gelu_erf', op: geluErf, backward: geluErfBackward },
    ...{ f: reference.geluErf, slope: reference.geluErfSlope },
  },
];

/** Noise of spread 3, and in front values where a careless tanh overflows. */
function inputs(n: number): Float32Array<ArrayBuffer> {
  const x = noise(n, n, 0, 3);
  x.set([0, -0, 1e4, -1e4, 11, -11, 3e38, -3e38].slice(0, Math.min(n, 8)));
  return x;
}

const clamped = (v: number): number => Math.max(-30, Math.min(30, v));

for (const { kernel, op, backward, f, slope } of FORMS) {
  test(`${kernel}: every size and workgroup equals the formula and stays inside its output`, async () => {
    for (const n of SIZES)
      for (const WG of WORKGROUPS)
        await gpu.scope(async (s) => {
          const x = inputs(n);
          const y = wide(s, [n]);
          gpu.run(kernel, { x: tensor(s, x, [n]), y: y.t }, { n }, { threads: n / 4, overrides: { WG } });
          // 1 and tanh z, or erf, are the terms, for |x| up to 1; beyond, the result itself is the scale.
          allclose(`${kernel} ${n}/${WG}`, (await read(gpu, y.t)).subarray(0, n), Array.from(x, f), {
            scale: 1,
          });
          await y.canaries();
        });
  });

  test(`${kernel}: the negative tail keeps its relative accuracy`, async () => {
    await gpu.scope(async (s) => {
      const x = Float32Array.from({ length: 44 }, (_, i) => -i / 9);
      // exp(2z), or exp(−x²/2), magnifies one rounding of its argument, below 18, as a sum of 18² terms would.
      allclose('tail', await read(gpu, op(s, tensor(s, x, [44]))), Array.from(x, f), { reduce: 18 ** 2 });
    });
  });

  test(`${kernel}: the reference slope equals its central difference`, () => {
    const x = noise(40, 3, 0, 2);
    const dy = noise(40, 4);
    const found = centralDifference((at) => dot(Array.from(at, f), dy), x);
    const want = Array.from(x, (v, i) => slope(v) * dy[i]!);
    allclose('slope', Float32Array.from(found), want, { scale: 1 });
  });

  test(`${kernel}: backward equals the reference at every size and workgroup`, async () => {
    for (const n of SIZES)
      for (const WG of WORKGROUPS)
        await gpu.scope(async (s) => {
          const x = inputs(n);
          const dy = noise(n, n + 1);
          const dx = wide(s, [n]);
          const bindings = { x: tensor(s, x, [n]), dy: tensor(s, dy, [n]), dx: dx.t };
          gpu.run(`${kernel}_backward`, bindings, { n }, { threads: n / 4, overrides: { WG } });
          const want = Array.from(x, (v, i) => slope(clamped(v)) * dy[i]!);
          // x g (1 - g) 2z' stays below 5 in magnitude before it cancels, Φ and x φ below 1
          allclose(`${kernel}_backward ${n}/${WG}`, (await read(gpu, dx.t)).subarray(0, n), want, {
            scale: 5,
          });
          await dx.canaries();
        });
  });

  test(`${kernel}: the ops dispatch these kernels and return all memory`, async () => {
    const before = gpu.liveBytes;
    await gpu.scope(async (s) => {
      const x = inputs(300);
      const dy = noise(300, 9);
      const xt = tensor(s, x, [3, 100]);
      const y = op(s, xt);
      assert.equal(y.shape, [3, 100]);
      allclose('y', await read(gpu, y), Array.from(x, f), { scale: 1 });
      const dx = backward(s, xt, tensor(s, dy, [3, 100]));
      const want = Array.from(x, (v, i) => slope(clamped(v)) * dy[i]!);
      allclose('dx', await read(gpu, dx), want, { scale: 5 });
      assert.throws(() => op(s, tensor(s, noise(6, 1), [6])), /6 elements, not a multiple of 4/);
      assert.throws(() => backward(s, xt, tensor(s, dy, [300])), /shapes differ/);
    });
    assert.is(gpu.liveBytes, before);
  });
}

test('silu(gate) · up: every shape and workgroup, forward and backward', async () => {
  for (const [T, F] of [
    [1, 4],
    [3, 64],
    [7, 260],
    [2, 1536],
  ] as const)
    for (const WG of WORKGROUPS)
      await gpu.scope(async (s) => {
        const gateUp = noise(2 * T * F, T, 0, 3);
        gateUp.set([0, -100, 100, -3e38].slice(0, 4)); // gates
        const dy = noise(T * F, F);
        const [y, d] = [wide(s, [T, F]), wide(s, [T, 2 * F])];
        const grid = { threads: (T * F) / 4, overrides: { WG } };
        const input = tensor(s, gateUp, [T, 2 * F]);
        gpu.run('tensor/silu_gate', { gate_up: input, y: y.t }, { tokens: T, f: F }, grid);
        const bindings = { gate_up: input, dy: tensor(s, dy, [T, F]), d_gate_up: d.t };
        gpu.run('tensor/silu_gate_backward', bindings, { tokens: T, f: F }, grid);
        // Terms of the slope reach |dy up gate| < 100 beside the gate of 100, whose result is as large itself.
        const got = (await read(gpu, y.t)).subarray(0, T * F);
        allclose(`silu ${T}x${F}/${WG}`, got, reference.siluGate(gateUp, F), { reduce: 4, scale: 3 });
        const slope = (await read(gpu, d.t)).subarray(0, 2 * T * F);
        const want = reference.siluGateBackward(
          gateUp.map((v) => Math.max(v, -700)),
          F,
          dy,
        );
        allclose(`silu backward ${T}x${F}/${WG}`, slope, want, { reduce: 4, scale: 20 });
        await y.canaries();
        await d.canaries();
      });
});

test('silu(gate) · up: central difference, tape and shapes', async () => {
  const gateUp = noise(2 * 3 * 8, 5, 0, 2);
  const dy = noise(3 * 8, 6);
  const found = centralDifference((at) => dot(reference.siluGate(at, 8), dy), gateUp);
  allclose('slope', Float32Array.from(found), reference.siluGateBackward(gateUp, 8, dy), { scale: 10 });
  const tape = new Tape();
  await gpu.scope(async (s) => {
    const x = tensor(s, gateUp, [3, 16]);
    tape.watch(x);
    const y = siluGate(s, x);
    const d = await read(gpu, tape.backward(s, y, x)); // seeded with y itself
    allclose('tape', d, reference.siluGateBackward(gateUp, 8, reference.siluGate(gateUp, 8)), { scale: 20 });
    assert.throws(() => siluGate(s, tensor(s, noise(12, 1), [1, 12])), /12 columns, expected gate \| up/);
    assert.throws(() => siluGateBackward(s, x, x), /is not half of/);
  }, tape);
});

test.run();
