/**
 * Every architecture against float64: ids, hidden states, logits, C, and three edits by all methods.
 *
 * Bounds, relative unless said otherwise: hidden states and logits 1e-5; k, v 1e-5; u 5e-5; grad_0 1e-4; each loss 1e-4
 * absolute; delta, v*, Λ 2e-4; C 1e-5. PyTorch in float32 strays by up to 1.8e-6, 1.6e-6, 1.6e-6, 3.7e-6, 4.8e-6 and
 * 7.5e-6 from the same values, so what exceeds the bounds is a bug. Values: checkpoints with random weights, written and
 * computed in plain PyTorch; the 60 documents of C are lines of the bundled text.
 */
import { readFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { computeEdit } from '../src/edit/edit.ts';
import { buildCovariance } from '../src/edit/covariance.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import type { Method } from '../src/edit/method.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { explainEdit } from '../src/lab/explain.ts';
import { storedTensors } from '../src/models/architecture.ts';
import type { Hook } from '../src/models/architecture.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { readArchitecture } from '../src/models/checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { randomCheckpoint } from '../src/models/random-checkpoint.ts';
import { read } from '../src/tensor/tensor.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { packSymmetric, unpackSymmetric } from '../src/edit/panels.ts';
import { golden, goldenTensors } from './model.ts';
import { gpu } from './gpu.ts';
import { relativeError } from './reference/allclose.ts';
import { secondMoment } from './reference/linear-algebra.ts';

interface Fixture {
  layer: number;
  matrix: string;
  contexts: string[];
  documents: number[];
  covariance_ids: number[];
  covariance_tokens: number;
  forward: { text: string; ids: number[]; decoded: string }[];
  edits: {
    request: { prompt: string; subject: string; target_new: string };
    target_ids: number[];
    lookups: number[];
    trace: { loss: number[]; nll: number[]; kl: number[]; decay: number[] };
  }[];
}

const METHODS: readonly Method[] = ['rome', 'p-rome', 'r-rome'];
const NAMES = [
  ...['gpt2', 'gptj', 'gpt-neox', 'gpt-neox-serial', 'llama2', 'llama3'],
  ...['mistral', 'qwen2', 'qwen3', 'smollm2'],
];
/** The second adapter of a whole run: one edit each, no covariance. */
const brief = process.env['PALIMPSEST_BRIEF'] === '1';
/** PALIMPSEST_ARCHITECTURES=gptj,qwen2 runs these alone. */
const only = process.env['PALIMPSEST_ARCHITECTURES']?.split(',');

const lines = readFileSync(fileURLToPath(new URL('../data/wikitext.txt', import.meta.url)), 'utf8')
  .split('\n')
  .filter((line) => line !== '');

for (const name of NAMES.filter((one) => only?.includes(one) ?? true)) {
  const test = suite(`architectures: ${name}`);
  const fixture = JSON.parse(readFileSync(golden(`architectures/${name}/fixture.json`), 'utf8')) as Fixture;
  const { layer } = fixture;
  let model: Model;
  let want: Map<string, Float32Array>;

  const near = (what: string, got: Float32Array | undefined, bound: number): void => {
    const error = relativeError(got!, want.get(what)!);
    assert.ok(error <= bound, `${what}: relative error ${error}, bound ${bound}`);
  };

  test.before(async () => {
    model = await Model.load(gpu, await openCheckpoint(golden(`architectures/${name}`)));
    want = await goldenTensors(`architectures/${name}/fixture.safetensors`);
  });
  test.after(() => model.destroy());

  test('ids, every hidden state and the last logits of four texts, packed into one batch', async () => {
    const { dims, tokenizer, architecture } = model;
    assert.is(architecture.editedWeight(layer).name, fixture.matrix);
    for (const { text, ids, decoded } of fixture.forward) {
      assert.equal(tokenizer.encode(text).slice(0, ids.length), ids);
      if (ids.length < dims.context) assert.is(tokenizer.decode(ids), decoded);
    }
    await gpu.scope(async (s) => {
      const batch = packRows(fixture.forward.map(({ ids }) => ids));
      const device = uploadBatch(s, batch);
      const states: Tensor[] = [model.embed(s, device)];
      const state: Hook = (_, i, x) => void (states[i + 1] = x);
      model.forward(s, device, { x: states[0], hooks: { state } });
      const logits = await read(gpu, model.logits(s, states.at(-1)!));
      const hidden = await Promise.all(states.map((one) => read(gpu, one)));
      fixture.forward.forEach(({ ids }, n) => {
        const [from, to] = [batch.rowStarts[n]!, batch.rowStarts[n]! + ids.length];
        near(`logits.${n}`, logits.subarray((to - 6) * dims.V, to * dims.V), 1e-5);
        const all = want.get(`hidden.${n}`);
        hidden.forEach((one, i) => {
          if (!all) return;
          const part = all.subarray(i * ids.length * dims.D, (i + 1) * ids.length * dims.D);
          const error = relativeError(one.subarray(from * dims.D, to * dims.D), part);
          assert.ok(error <= 1e-5, `hidden state ${i} of text ${n}: ${error}`);
        });
      });
    });
  });

  if (!brief)
    test('C of 60 documents', async () => {
      const documents = fixture.documents.map((line) => lines[line]!);
      async function* placed() {
        for (const [index, text] of documents.entries()) yield { text, index, next: index + 1 };
      }
      const { tokens, built } = await buildCovariance(model, { layers: [layer], documents: placed });
      assert.is(tokens, fixture.covariance_tokens);
      near('C', unpackSymmetric(built[0]!.covariance, model.dims.F), 1e-5);
    });

  if (!brief && name === 'llama3')
    test('C without the keys of special tokens: those of BOS are left out, and all others stay', async () => {
      const texts = fixture.documents.slice(0, 4).map((line) => lines[line]!);
      async function* documents() {
        for (const [index, text] of texts.entries()) yield { text, index, next: index + 1 };
      }
      const rows = texts.map((text) => model.tokenizer.encodeDocument(text, model.dims.context));
      const keys: number[][] = [];
      await gpu.scope(async (s) => {
        const found: Tensor[] = [];
        const key: Hook = (inner, i, k) => void (i === layer && found.push(inner.keep(k, s)));
        model.forward(s, uploadBatch(s, packRows(rows)), { to: layer + 1, hooks: { key } });
        const all = await read(gpu, found[0]!);
        const { F } = model.dims;
        rows.flat().forEach((id, t) => {
          if (!model.tokenizer.isSpecial(id)) keys.push([...all.subarray(t * F, (t + 1) * F)]);
        });
      });
      assert.is(keys.length, rows.flat().length - texts.length);
      const { skipped, built } = await buildCovariance(model, {
        layers: [layer],
        skipSpecial: true,
        documents,
      });
      assert.is(skipped, texts.length);
      const { F } = model.dims;
      const wanted = secondMoment(keys.flat(), F).map((x) => x / keys.length);
      const error = relativeError(unpackSymmetric(built[0]!.covariance, F), Float32Array.from(wanted));
      assert.ok(error <= 1e-6, `C: ${error}`);
    });

  fixture.edits.forEach(({ request, target_ids, lookups, trace }, n) => {
    if (brief && n > 0) return;
    test(`edit ${n}: ${request.subject} → ${request.target_new}`, async () => {
      const { F } = model.dims;
      const solver = await covarianceSolver(gpu, {
        ...{ key: 'golden', size: F, tokens: fixture.covariance_tokens },
        panels: packSymmetric(want.get('C')!, F),
      });
      const { prompt, subject, target_new: target } = request;
      const options = { methods: METHODS, layer, contexts: fixture.contexts, solver };
      const edit = await computeEdit(model, { prompt, subject, target }, options);
      assert.equal(edit.rows.targetIds, target_ids);
      const found = edit.rows.rewrites.map(({ lookup }) => lookup);
      assert.equal(found, lookups);
      for (const key of ['k_prompt', 'k_mean', 'v_prompt', 'v_mean'] as const)
        near(`edit.${n}.${key}`, edit.vectors[key], 1e-5);
      near(`edit.${n}.u`, edit.updates.get('r-rome')?.U, 5e-5);
      near(`edit.${n}.u.p-rome`, edit.updates.get('p-rome')?.U, 5e-5);
      near(`edit.${n}.grad_0`, edit.vectors.grad_0, 1e-4);
      assert.is(edit.trace.length, trace.loss.length, 'steps');
      for (const column of ['loss', 'nll', 'kl', 'decay'] as const)
        edit.trace.forEach((row, step) => {
          const error = Math.abs(row[column] - trace[column][step]!);
          assert.ok(error <= 1e-4, `${column} of step ${step}: off by ${error}`);
        });
      for (const key of ['delta', 'v_star'] as const) near(`edit.${n}.${key}`, edit.vectors[key], 2e-4);
      for (const method of METHODS)
        near(`edit.${n}.lambda.${method}`, edit.updates.get(method)?.Lambda, 2e-4);
      if (n === 0) {
        // What `explain` says of this model: W as it is stored, and shaders that are there.
        const steps = explainEdit(model, edit, edit.updates.get('rome')!);
        const { tensors, editedWeight } = model.architecture;
        const stored = `[${tensors.get(editedWeight(layer).name)!.shape.join(', ')}]`;
        const shapes = steps.flatMap((step) => step.shapes);
        assert.is(shapes.find(([symbol]) => symbol.endsWith(', W'))?.[1], stored);
        for (const name of steps.flatMap(({ shaders }) => shaders))
          await access(new URL(`../shaders/${name}.wgsl`, import.meta.url));
      }
      if (n === 0 && !brief) {
        const whole = await computeEdit(
          model,
          { prompt, subject, target },
          { ...options, methods: ['rome'], steps: 2, freeze: false },
        );
        const error = relativeError(edit.vectors.grad_0, whole.vectors.grad_0);
        assert.ok(error <= 1e-5, `grad_0 with everything computed in every step: ${error}`);
      }
      solver.close();
    });
  });
  test.run();
}

/** Switches that leave tensors out. Biases of a random checkpoint are zero, so a model without them computes the same. */
const LEFT_OUT = [
  ['gpt-neox', 'attention_bias'],
  ['llama2', 'attention_bias'],
  ['llama2', 'mlp_bias'],
  ['qwen3', 'attention_bias'],
] as const;

const biases = suite('architectures: biases');
for (const [name, field] of LEFT_OUT)
  biases(`${name} without ${field} is ${name} with zeros for it, bit for bit`, async () => {
    const json = (file: string): Record<string, unknown> =>
      JSON.parse(readFileSync(golden(`architectures/${name}/${file}`), 'utf8')) as Record<string, unknown>;
    const logits = [];
    const biased = await readArchitecture(name, { ...json('config.json'), [field]: true });
    const whole = randomCheckpoint(name, { architecture: biased, tokenizerJson: json('tokenizer.json') });
    const bare = await readArchitecture(name, { ...json('config.json'), [field]: false });
    assert.ok(storedTensors(bare).size < storedTensors(biased).size);
    for (const architecture of [biased, bare]) {
      const model = await Model.load(gpu, { ...whole, architecture });
      logits.push(
        await gpu.scope((s) => {
          const batch = uploadBatch(s, packRows([[5, 7, 11, 13]]));
          return read(gpu, model.logits(s, model.forward(s, batch)));
        }),
      );
      model.destroy();
    }
    assert.equal(logits[1], logits[0]);
  });
biases.run();
