/**
 * The method against float64: every vector of every fixture edit, all three methods.
 *
 * Bounds, relative unless said otherwise: k, v 1e-5; u 1e-4; grad_0 1e-4; each loss 1e-3 absolute; delta, v*, Λ 2e-3.
 * A float32 run of the reference strays by 5e-7, 1e-6, 2e-6, 1e-5 and 2.4e-5, so what exceeds them is a bug.
 */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { computeEdit } from '../src/edit/edit.ts';
import type { Edit, EditOptions } from '../src/edit/edit.ts';
import type { Method } from '../src/edit/method.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import { goldenSolver } from './covariance.ts';
import { gpu } from './gpu.ts';
import { golden, goldenTensors, openFacts } from './model.ts';
import { goldenContexts as contexts } from './tokenizers.ts';
import { relativeError } from './reference/allclose.ts';

interface Fixture {
  request: { prompt: string; subject: string; target_new: string };
  target_ids: number[];
  lookups: number[];
  trace: { loss: number[]; nll: number[]; kl: number[]; decay: number[]; prob: number[] };
  divisor: Record<Method, number>;
  cosine: Record<Method, number>;
  update_norm: Record<Method, number>;
}

const test = suite('edit');
const METHODS: Method[] = ['rome', 'p-rome', 'r-rome'];
const fixtures = JSON.parse(readFileSync(golden('fixtures/edits.json'), 'utf8')) as Fixture[];
let solver: Solver;

async function run(fixture: Fixture, options: Partial<EditOptions> = {}): Promise<Edit> {
  const { prompt, subject, target_new } = fixture.request;
  return computeEdit(
    await openFacts(),
    { prompt, subject, target: target_new },
    { methods: METHODS, layer: 1, contexts, solver, ...options },
  );
}

test.before(async () => {
  solver = await goldenSolver();
});

/** The second adapter of a whole run: every sixth fixture. */
const brief = process.env['PALIMPSEST_BRIEF'] === '1';

fixtures.forEach((fixture, n) => {
  if (brief && n % 6 !== 0) return;
  test(`fixture ${n}: ${fixture.request.subject} → ${fixture.request.target_new}`, async () => {
    const want = await goldenTensors(`fixtures/edits/${String(n).padStart(2, '0')}.safetensors`);
    const edit = await run(fixture);
    assert.equal(edit.rows.targetIds, fixture.target_ids);
    assert.equal(
      edit.rows.rewrites.map((row) => row.lookup),
      fixture.lookups,
    );

    const near = (name: string, got: Float32Array | undefined, bound: number): void => {
      const error = relativeError(got!, want.get(name)!);
      assert.ok(error <= bound, `${name}: relative error ${error}, bound ${bound}`);
    };
    for (const name of ['k_prompt', 'k_mean', 'v_prompt', 'v_mean'] as const)
      near(name, edit.vectors[name], 1e-5);
    near('grad_0', edit.vectors.grad_0, 1e-4);
    near('u', edit.updates.get('r-rome')?.U, 1e-4);
    near('u.p-rome', edit.updates.get('p-rome')?.U, 1e-4);
    assert.is(edit.trace.length, fixture.trace.loss.length, 'steps');
    const traces = { loss: 'loss', nll: 'nll', kl: 'kl', decay: 'decay', prob: 'probability' } as const;
    for (const [theirs, ours] of Object.entries(traces) as [
      keyof typeof traces,
      (typeof traces)[keyof typeof traces],
    ][]) {
      edit.trace.forEach((row, step) => {
        const error = Math.abs(row[ours] - fixture.trace[theirs][step]!);
        assert.ok(error <= 1e-3, `${ours} of step ${step}: off by ${error}`);
      });
    }
    for (const name of ['delta', 'v_star'] as const) near(name, edit.vectors[name], 2e-3);
    for (const method of METHODS) {
      const update = edit.updates.get(method)!;
      near(`lambda.${method}`, update.Lambda, 2e-3);
      assert.ok(Math.abs(update.divisor / fixture.divisor[method] - 1) <= 1e-3, `divisor of ${method}`);
      assert.ok(Math.abs(update.cosine / fixture.cosine[method] - 1) <= 1e-3, `cosine of ${method}`);
      assert.ok(
        Math.abs(update.updateNorm / fixture.update_norm[method] - 1) <= 2e-3,
        `update norm of ${method}`,
      );
    }
  });
});

test('the same bits on a second run, and no GPU memory kept', async () => {
  const live = gpu.liveBytes;
  const [first, second] = [await run(fixtures[0]!, { steps: 4 }), await run(fixtures[0]!, { steps: 4 })];
  assert.is(gpu.liveBytes, live);
  assert.equal(second.vectors, first.vectors);
  assert.equal(second.trace, first.trace);
  for (const method of METHODS)
    assert.equal(second.updates.get(method)?.Lambda, first.updates.get(method)?.Lambda);
});

test('frozen prefix and whole forward pass give the same numbers: grad_0 to 1e-5, delta to 1e-3', async () => {
  for (const n of brief ? [1] : [1, 2]) {
    const [frozen, whole] = [
      await run(fixtures[n]!, { steps: 5 }),
      await run(fixtures[n]!, { steps: 5, freeze: false }),
    ];
    assert.ok(frozen.stepTokens < whole.stepTokens);
    const gradient = relativeError(frozen.vectors.grad_0, whole.vectors.grad_0);
    assert.ok(gradient <= 1e-5, `grad_0 of fixture ${n}: ${gradient}`);
    const delta = relativeError(frozen.vectors.delta, whole.vectors.delta);
    assert.ok(delta <= 1e-3, `delta of fixture ${n}: ${delta}`);
  }
});

test.run();
