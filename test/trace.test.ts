/** Causal tracing: against float64 on a tiny model, by its identities, and on the bundled model. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../src/errors.ts';
import { readFacts } from '../src/data/read.ts';
import { readGpt2 } from '../src/models/gpt2.ts';
import { randomCheckpoint } from '../src/models/random-checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { embeddingDeviation, NOISE_FACTOR, subjectNoise, TRACE_SITES } from '../src/lab/trace-runs.ts';
import {
  averageTracings,
  knownFacts,
  layerContrast,
  recommendedLayer,
  tokenKind,
  traceFacts,
} from '../src/lab/trace-average.ts';
import { sampleParts, traceFact, traceWindow, windowAround } from '../src/lab/trace.ts';
import type { Tracing } from '../src/lab/trace.ts';
import { deviation } from '../src/statistics.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu } from './gpu.ts';
import { openFacts } from './model.ts';
import { allclose } from './reference/allclose.ts';
import { objectProbability, restoredProbability } from './reference/trace.ts';
import type { ReferenceModel } from './reference/trace.ts';
import { readJson, readText } from './tokenizers.ts';

const test = suite('trace');

/** Weights of deviation 0.2, not 0.02: a model of 3 layers then says something. Its tokens are single bytes. */
async function tiny(): Promise<{ model: Model; reference: ReferenceModel }> {
  const file = readJson('weights/facts/tokenizer.json') as { model: { vocab: Record<string, number> } };
  const bytes = Object.keys(file.model.vocab).filter((token) => [...token].length === 1);
  const vocab = Object.fromEntries(['<|endoftext|>', ...bytes].map((token, id) => [token, id]));
  const tokenizerJson = { ...file, model: { ...file.model, vocab, merges: [] } };
  const shape = { n_layer: 3, n_embd: 64, n_head: 4, n_inner: 256, n_positions: 64 };
  const config = { ...shape, vocab_size: bytes.length + 1, layer_norm_epsilon: 1e-5 };
  const small = randomCheckpoint('tiny', { architecture: readGpt2('tiny', config), tokenizerJson, seed: 5 });
  const tensors: typeof small.tensors = {
    names: () => small.tensors.names(),
    info: (name) => small.tensors.info(name),
    async *chunks(name, most) {
      const gain = /ln_\w+\.weight$/.test(name);
      for await (const chunk of small.tensors.chunks(name, most)) {
        const floats = new Float32Array(chunk.buffer).map((x) => (gain ? x : 10 * x));
        yield new Uint8Array(floats.buffer);
      }
    },
  };
  const all = new Map<string, Float32Array>();
  for (const name of tensors.names())
    for await (const chunk of tensors.chunks(name, 2 ** 30)) all.set(name, new Float32Array(chunk.buffer));
  const reference = { config, tensor: (name: string) => all.get(name)! };
  return { model: await Model.load(gpu, { ...small, tensors }), reference };
}

const request = { prompt: 'Ann {} is', subject: 'Lee', object: 'X' };
const flat = (tracing: Tracing): number[] => TRACE_SITES.flatMap((site) => tracing.effects[site]!.flat());

test('the deviation of the embeddings of subjects, unbiased', async () => {
  const model = await openFacts();
  const subjects = ['Danielle Darrieux', 'Lyon', 'Go Hyeon-jeong'];
  const ids = subjects.flatMap((subject) => model.tokenizer.encode(subject));
  const D = model.dims.D;
  const wte = await read(gpu, model.weights('wte.weight'));
  const all = ids.flatMap((id) => [...wte.subarray(id * D, (id + 1) * D)]);
  const mean = all.reduce((sum, x) => sum + x, 0) / all.length;
  const squares = all.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const want = Math.sqrt(squares / (all.length - 1));
  allclose('deviation', [await embeddingDeviation(model, subjects)], [want], { reduce: all.length });
  // One number apart is wide enough to tell n from n − 1.
  assert.ok(Math.abs(deviation([0, 1]) - Math.SQRT1_2) < 1e-15);
});

test('noise: normal, on the subject alone, the same for a seed', () => {
  const shape = { samples: 10, tokens: 7, width: 512 };
  const made = subjectNoise(shape, [2, 5], 3, 1);
  assert.equal(made, subjectNoise(shape, [2, 5], 3, 1));
  assert.equal(made.subarray(0, 7 * 512), subjectNoise({ ...shape, samples: 1 }, [2, 5], 3, 1));
  assert.not.equal(made, subjectNoise(shape, [2, 5], 3, 2));
  const inside = made.filter((_, i) => [2, 3, 4].includes(Math.floor(i / 512) % 7));
  assert.is(made.filter((x) => x !== 0).length, inside.length);
  const n = inside.length;
  const moment = (k: number): number => inside.reduce((sum, x) => sum + (x / 3) ** k, 0) / n;
  // Of n = 15,360 normal numbers: five standard errors of each moment.
  assert.ok(Math.abs(moment(1)) < 5 / Math.sqrt(n), `mean ${moment(1)}`);
  assert.ok(Math.abs(moment(2) - 1) < 5 * Math.sqrt(2 / n), `variance ${moment(2)}`);
  assert.ok(Math.abs(moment(4) - 3) < 5 * Math.sqrt(96 / n), `kurtosis ${moment(4)}`);
});

test('every effect of a tiny model equals float64, objects of two tokens and of three', async () => {
  const { model, reference } = await tiny();
  const [noise, samples, seed, window] = [0.4, 2, 3, 2];
  for (const object of ['X', 'Xy']) {
    const got = await traceFact(model, { ...request, object }, { noise, samples, seed, window });
    const prompt = model.tokenizer.encode('Ann Lee is');
    const ids = model.tokenizer.encode(` ${object}`);
    // The blank before the subject is a token of its own here; the subject begins after it.
    assert.equal(got.subject, [4, 7]);
    assert.equal(got.tokens, [...'Ann Lee is']);
    const [T, D] = [prompt.length + ids.length - 1, model.dims.D];
    const made = subjectNoise({ samples, tokens: T, width: D }, got.subject, noise, seed);
    const noises = Array.from({ length: samples }, (_, j) => made.subarray(j * T * D, (j + 1) * T * D));
    const probability = (restored?: Parameters<typeof restoredProbability>[4]): number =>
      restoredProbability(reference, prompt, ids, noises, restored);
    const clean = objectProbability(reference, prompt, ids);
    const corrupted = probability();
    // A logit is a sum over 64 numbers of size 1 after 3 blocks: eps √64 of about 10 in the exponent, doubled.
    const bound = 2e-5;
    // Relative to the largest probability that enters: a restored one may exceed the clean one.
    const close = (name: string, x: number, want: number, largest: number): void =>
      assert.ok(Math.abs(x - want) <= bound * largest, `${name}: got ${x}, want ${want} of ${largest}`);
    close('clean', got.clean, clean, clean);
    close('corrupted', got.corrupted, corrupted, corrupted);
    assert.ok(Math.abs(clean - corrupted) > 100 * bound * clean, 'the noise has an effect');
    for (const site of TRACE_SITES) {
      for (const token of [0, 4, 5, 6, 7, 9]) {
        for (let layer = 0; layer < 3; layer += 1) {
          const layers = site === 'state' ? ([layer, layer + 1] as const) : windowAround(layer, window, 3);
          const restored = probability({ site, token, layers });
          const effect = got.effects[site]![token]![layer]!;
          close(
            `${site}, token ${token}, layer ${layer}`,
            effect,
            restored - corrupted,
            Math.max(restored, corrupted),
          );
        }
      }
    }
  }
  model.destroy();
});

test('no noise, no effect; the last state restored is the clean run; nothing before the subject', async () => {
  const model = await openFacts();
  const fact = { prompt: 'The mother tongue of {} is', subject: 'Danielle Darrieux', object: 'French' };
  const live = gpu.liveBytes;
  const quiet = await traceFact(model, fact, { noise: 0, samples: 2 });
  assert.ok(Math.abs(quiet.clean - quiet.corrupted) < 1e-5, `${quiet.clean} ${quiet.corrupted}`);
  for (const effect of flat(quiet)) assert.ok(Math.abs(effect) < 1e-5, `${effect}`);

  const loud = await traceFact(model, fact, { noise: 0.19 });
  assert.is(gpu.liveBytes, live, 'all memory is given back');
  assert.is(loud.samples, 10);
  assert.ok(loud.clean > 0.9 && loud.corrupted < 0.1, `${loud.clean} ${loud.corrupted}`);
  const total = loud.clean - loud.corrupted;
  assert.ok(Math.abs(loud.effects.state!.at(-1)!.at(-1)! - total) < 1e-5);
  for (const site of TRACE_SITES)
    for (const row of loud.effects[site]!.slice(0, loud.subject[0])) assert.ok(row.every((x) => x === 0));
  assert.ok(Math.max(...flat(loud)) <= total + 1e-5);
  assert.equal(loud, await traceFact(model, fact, { noise: 0.19 }), 'the same numbers again');
  const bare = await traceFact(model, { ...fact, object: undefined }, { noise: 0.19, sites: ['state'] });
  assert.is(bare.object, ' French');
  assert.equal(bare.effects.state, loud.effects.state);

  // Traced 4 at a time, the same 10 samples give the same means, up to the rounding of f32 probabilities.
  const parts = await traceFact(model, fact, { noise: 0.19, together: 4 });
  assert.is(parts.samples, 10);
  const [one, three] = [flat(loud), flat(parts)];
  assert.ok(one.every((effect, i) => Math.abs(effect - three[i]!) < 1e-5));
  await throws(() => traceFact(model, fact, { noise: 1e38, samples: 1 }), UsageError, '--noise');
});

test('samples of any number are traced in parts that a default binding holds', () => {
  const text = { ids: Array<number>(12).fill(0), object: [1] };
  for (const [dims, whole] of [
    [{ F: 6400, D: 1600, V: 50_257 }, 6400 * 12],
    [{ F: 64, D: 16, V: 50_257 }, 50_257],
  ] as const) {
    const parts = sampleParts(text, 3000, dims);
    const ends = parts.map(({ from, samples }) => from + samples);
    assert.equal([0, ...ends], [...parts.map(({ from }) => from), 3000]);
    assert.ok(parts.every(({ samples }) => samples > 0 && 4 * samples * whole <= 2 ** 27));
  }
});

test('windows are symmetric and cut at the ends', () => {
  assert.equal(windowAround(17, 10, 48), [12, 22]);
  assert.equal(windowAround(0, 10, 48), [0, 5]);
  assert.equal(windowAround(47, 10, 48), [42, 48]);
  assert.equal(windowAround(3, 1, 8), [3, 4]);
  assert.equal([48, 36, 24, 12, 8, 3].map(traceWindow), [10, 10, 10, 2, 2, 1]);
});

test('kinds of tokens, and averages over them', () => {
  const kinds = (tokens: number, subject: [number, number]): (string | undefined)[] =>
    Array.from({ length: tokens }, (_, t) => tokenKind(tokens, subject, t));
  assert.equal(kinds(9, [1, 5]), [
    undefined,
    'first subject token',
    'middle subject tokens',
    'middle subject tokens',
    'last subject token',
    'first token after it',
    'further tokens',
    'further tokens',
    'last token',
  ]);
  assert.equal(kinds(2, [0, 1]), ['last subject token', 'last token']);
  assert.equal(kinds(2, [1, 2]), [undefined, 'last subject token']);

  const tracing = (mlp: number[][], subject: [number, number]): Tracing => ({
    ...{ request, tokens: mlp.map(String), subject, object: '', clean: 1, corrupted: 0 },
    ...{ noise: 1, samples: 1, window: 1, effects: { mlp } },
  });
  const average = averageTracings([
    tracing(
      [
        [9, 9],
        [0, 4],
        [1, 3],
        [1, 1],
      ],
      [1, 2],
    ), // last subject, first after, last
    tracing(
      [
        [3, 1],
        [0, 2],
        [2, 4],
        [6, 6],
        [8, 8],
      ],
      [0, 3],
    ), // first, middle, last subject, first after, last
  ]);
  assert.equal(average.effects.mlp, {
    'first subject token': [3, 1],
    'middle subject tokens': [0, 2],
    'last subject token': [1, 4],
    'first token after it': [3.5, 4.5],
    'further tokens': [],
    'last token': [4.5, 4.5],
  });
  // Layer 1 restores 4 and 2 points more than layer 0. Two facts do not tell whether that is chance; six like them do.
  assert.is(recommendedLayer(average), undefined);
  const { layer, next, difference, margin } = layerContrast(average)!;
  assert.equal([layer, next, difference, Number.isNaN(margin)], [1, 0, 3, true]);
  const [a, b] = average.facts as [number[], number[]];
  assert.is(recommendedLayer({ ...average, facts: [a, b, a, b, a, b] }), 1);
  // As far apart on average, but with more spread than that.
  const wide = [10, -8, 9, 1].map((x) => [0, x]);
  assert.is(layerContrast({ ...average, facts: wide })!.difference, 3);
  assert.is(recommendedLayer({ ...average, facts: wide }), undefined);
});

test('known facts only; their average is that of each', async () => {
  const model = await openFacts();
  const facts = readFacts(readText('data/counterfact.json'), 'counterfact.json').slice(0, 6);
  const wrong = { ...facts[0]!, targetTrue: 'banana' };
  const known = await knownFacts(model, [wrong, ...facts], facts.length + 1);
  assert.not.ok(known.includes(wrong));
  assert.ok(known.length >= 3, `${known.length} known`);
  const deviation = await embeddingDeviation(
    model,
    facts.map(({ subject }) => subject),
  );
  const options = { noise: NOISE_FACTOR * deviation, samples: 2, sites: ['mlp'] as const };
  const each: Tracing[] = [];
  const average = await traceFacts(model, known.slice(0, 2), options, (tracing) => each.push(tracing));
  assert.is(average.n, 2);
  assert.is(average.clean, (each[0]!.clean + each[1]!.clean) / 2);
  const last = each.map((tracing) => tracing.effects.mlp![tracing.subject[1] - 1]!);
  const want = last[0]!.map((x, layer) => (x + last[1]![layer]!) / 2);
  assert.equal(average.effects.mlp!['last subject token'], want);
  assert.equal(await traceFacts(model, known.slice(0, 2), options), average, 'nobody listens');
});

test('a prompt without {} and a text beyond the window are refused', async () => {
  const model = await openFacts();
  for (const [bad, message] of [
    [{ prompt: 'no hole', subject: 'x' }, /prompt: expected one \{\}/],
    [{ prompt: '{} is', subject: ' ' }, /subject: expected a name/],
    [{ prompt: `{} ${'word '.repeat(300)}`, subject: 'x' }, /context window/],
  ] as const) {
    await throws(() => traceFact(model, bad, { noise: 1 }), Error, message);
  }
});

test.run();
