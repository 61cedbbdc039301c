/**
 * Many facts at once against the published closed forms (F x F, float64): two batches one after another, three layers.
 *
 * Bounds, relative: z and K 1e-4, R and U 2e-4. A float32 model with a float64 solve strays by 2.6e-6, 3.2e-6, 4.2e-6 and
 * 6.3e-6, so what exceeds them is a bug.
 */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { keepWeights } from '../src/edit/apply.ts';
import { writeFacts, MASS_VALUE_DEFAULTS } from '../src/edit/mass.ts';
import type { MassEdit, MassEditOptions, PastKeys } from '../src/edit/mass.ts';
import { MASS_DEFAULTS, MASS_METHODS } from '../src/edit/method.ts';
import type { MassMethod, MassOptions } from '../src/edit/method.ts';
import { openMetric } from '../src/edit/metric.ts';
import type { Metric } from '../src/edit/metric.ts';
import { packSymmetric } from '../src/edit/panels.ts';
import { editRows } from '../src/edit/rows.ts';
import type { EditRows } from '../src/edit/rows.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { Model } from '../src/models/model.ts';
import { gpu } from './gpu.ts';
import { golden, goldenTensors } from './model.ts';
import { relativeError } from './reference/allclose.ts';

interface Fixture {
  batches: { prompt: string; subject: string; target_new: string }[][];
  contexts: string[][];
  covariance_tokens: number;
  methods: Record<
    MassMethod,
    { hyper_parameters: Record<string, number> & { layers: number[] }; losses: number[][][] }
  >;
}

const test = suite('mass');

/** The second adapter of a whole run: the method with every part. */
const METHODS = process.env['PALIMPSEST_BRIEF'] === '1' ? (['encore'] as const) : MASS_METHODS;

for (const name of ['gpt2', 'llama3']) {
  const folder = golden(`architectures/${name}`);
  const fixture = JSON.parse(readFileSync(golden(`mass/${name}.json`), 'utf8')) as Fixture;
  let model: Model;
  let want: Map<string, Float32Array>;
  test.before(async () => {
    model = await Model.load(gpu, await openCheckpoint(folder));
    want = await goldenTensors(`mass/${name}.safetensors`);
  });

  for (const method of METHODS)
    test(`${name}: ${method} writes two batches as published`, async () => {
      const live = gpu.liveBytes;
      const { layers } = fixture.methods[method].hyper_parameters;
      const metrics = await openMetrics(method, fixture, want);
      const past: PastKeys = new Map();
      const kept = keepWeights(model, layers);
      try {
        for (const b of fixture.batches.keys()) {
          const rows = rowsOf(model, fixture, b);
          const edit = await writeFacts(model, rows, optionsOf(method, fixture, metrics), past);
          compare(method, b, edit, want);
          const losses = fixture.methods[method].losses[b]!;
          assert.equal(
            edit.traces.map(({ length }) => length),
            losses.map(({ length }) => length),
            'steps',
          );
          for (const [i, trace] of edit.traces.entries())
            trace.forEach(({ loss }, step) => {
              const error = Math.abs(loss - losses[i]![step]!);
              assert.ok(error <= 1e-3, `${method}.${b}: loss of fact ${i}, step ${step}: off by ${error}`);
            });
        }
      } finally {
        kept.revert();
        for (const metric of metrics.values()) metric.close();
      }
      assert.is(gpu.liveBytes, live, 'memory stays behind');
    });
}

function rowsOf(model: Model, { batches, contexts }: Fixture, b: number): EditRows[] {
  return batches[b]!.map(({ prompt, subject, target_new: target }) =>
    editRows(model.tokenizer, { prompt, subject, target }, contexts.flat(), model.dims),
  );
}

function optionsOf(
  method: MassMethod,
  { contexts, methods }: Fixture,
  metrics: Map<number, Metric>,
): MassEditOptions {
  const { layers } = methods[method].hyper_parameters;
  return { method, layers, contexts, metrics, value: MASS_VALUE_DEFAULTS };
}

/** As the fixtures call them, the words of `MassOptions`. */
const NAMES: Readonly<Record<string, keyof MassOptions>> = {
  lambda: 'covarianceWeight',
  weight: 'covarianceWeight',
  epsilon: 'epsilon',
  lambda_n: 'normWeight',
  threshold: 'nullSpaceThreshold',
  L2: 'ridge',
};

async function openMetrics(
  method: MassMethod,
  fixture: Fixture,
  tensors: Map<string, Float32Array>,
): Promise<Map<number, Metric>> {
  const { layers, ...given } = fixture.methods[method].hyper_parameters;
  const named = Object.entries(given).flatMap(([name, value]) => (NAMES[name] ? [[NAMES[name], value]] : []));
  const options = { ...MASS_DEFAULTS, ...(Object.fromEntries(named) as Partial<MassOptions>) };
  const metrics = new Map<number, Metric>();
  for (const layer of layers) {
    const C = Float32Array.from(tensors.get(`C.${layer}`)!);
    const size = Math.sqrt(C.length);
    const tokens = fixture.covariance_tokens;
    const covariance = { key: 'fixture', size, tokens, panels: packSymmetric(C, size) };
    metrics.set(layer, await openMetric(gpu, { method, options, covariance }));
  }
  return metrics;
}

function compare(method: string, b: number, edit: MassEdit, want: Map<string, Float32Array>): void {
  const near = (name: string, got: Float32Array, bound: number): void => {
    const error = relativeError(got, want.get(`${method}.${b}.${name}`)!);
    if (process.env['PALIMPSEST_SHOW']) console.log(method, b, name, error.toExponential(1));
    assert.ok(error <= bound, `${method}.${b}.${name}: relative error ${error}, bound ${bound}`);
  };
  near('z', edit.z, 1e-4);
  for (const { layer, K, R, U, Lambda, rank } of edit.layers) {
    near(`${layer}.K`, K, 1e-4);
    near(`${layer}.R`, R, 2e-4);
    near(`${layer}.U`, product(U, Lambda, rank), 2e-4);
  }
}

/** u [F, r] λ [r, D] */
function product(u: Float32Array, lambda: Float32Array, rank: number): Float32Array {
  const [f, d] = [u.length / rank, lambda.length / rank];
  return Float32Array.from({ length: f * d }, (_, e) => {
    let sum = 0;
    for (let r = 0; r < rank; r += 1) sum += u[Math.floor(e / d) * rank + r]! * lambda[r * d + (e % d)]!;
    return sum;
  });
}

test.run();
