/** config.json of every architecture: both dialects, refusals by name; storage, and settings that are known. */
import { mkdir, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError } from '../src/errors.ts';
import { readSweptLayer, writeSweptLayer } from '../src/io/cache.ts';
import { chooseLayer, layersToSweep } from '../src/lab/trace-average.ts';
import { storedTensors } from '../src/models/architecture.ts';
import { readArchitecture } from '../src/models/checkpoint.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { knownSettings } from '../src/models/known-settings.ts';
import { MODEL_SIZES, randomCheckpoint } from '../src/models/random-checkpoint.ts';
import { chooseStorage } from '../src/models/storage.ts';
import { checkLength } from '../src/edit/request.ts';
import { throws, withFolder } from './folder.ts';

const test = suite('configs');

type Fields = Record<string, unknown>;
const configOf = (name: string): Fields =>
  JSON.parse(
    readFileSync(new URL(`golden/architectures/${name}/config.json`, import.meta.url), 'utf8'),
  ) as Fields;

const REFUSED: [name: string, change: Fields, ...words: string[]][] = [
  ['gptj', { activation_function: 'relu' }, 'activation_function', 'gelu_new', '"relu"'],
  ['gptj', { rotary_dim: 7 }, 'rotary_dim', 'even number up to 16', 'got 7'],
  ['gptj', { n_head: 3 }, 'n_head', 'divisor of n_embd 64', 'got 3'],
  ['gptj', { tie_word_embeddings: true }, 'tie_word_embeddings', 'expected false'],
  ['gpt-neox', { hidden_act: 'swish' }, 'hidden_act', 'gelu', '"swish"'],
  ['gpt-neox', { num_attention_heads: 5 }, 'num_attention_heads', 'divisor of hidden_size 64'],
  ['gpt-neox-serial', { rotary_pct: 0.3 }, 'rotary_pct', 'even number of components', 'got 0.3'],
  ['gpt-neox', { use_parallel_residual: 'yes' }, 'use_parallel_residual', 'true or false'],
  ['llama2', { hidden_act: 'gelu' }, 'hidden_act', 'silu', '"gelu"'],
  ['llama2', { num_key_value_heads: 3 }, 'num_key_value_heads', 'divisor of num_attention_heads 4', 'got 3'],
  ['llama3', { head_dim: null, num_attention_heads: 6 }, 'num_attention_heads', 'divisor of hidden_size 64'],
  ['llama2', { rope_parameters: { rope_type: 'yarn', factor: 2 } }, 'rope_parameters.rope_type', '"yarn"'],
  ['llama3', { rope_scaling: { type: 'dynamic', factor: 2 } }, 'rope_scaling.rope_type', '"dynamic"'],
  ['smollm2', { rope_scaling: { rope_type: 'longrope' } }, 'rope_scaling.rope_type', '"longrope"'],
  ['llama3', { rope_scaling: { rope_type: 'linear' } }, 'rope_scaling.factor', 'number > 0'],
  ['llama3', { rope_scaling: 'x' }, 'rope_scaling', 'an object'],
  ['llama3', { rope_theta: -1 }, 'rope_theta', 'number > 0', 'got -1'],
  ['mistral', { rms_norm_eps: 2 }, 'rms_norm_eps', 'between 0 and 1'],
  [
    'qwen2',
    { quantization_config: { quant_method: 'gptq' } },
    'quantization_config',
    '"gptq"',
    'cannot be edited',
  ],
  ['qwen3', { intermediate_size: 0 }, 'intermediate_size', 'got 0'],
];

for (const [name, change, ...words] of REFUSED)
  test(`${name} with ${JSON.stringify(change)} is refused`, async () => {
    await throws(
      () => readArchitecture('mine', { ...configOf(name), ...change }),
      ModelError,
      'mine',
      ...words,
    );
  });

test('positions of both dialects are the same', async () => {
  const { rope_theta, rope_scaling, ...rest } = configOf('llama3');
  const newer = { ...rest, rope_parameters: { rope_theta, ...(rope_scaling as Fields) } };
  const older = await readArchitecture('older', configOf('llama3'));
  assert.equal((await readArchitecture('newer', newer)).rope, older.rope);
  assert.is(older.rope?.scaling?.type, 'llama3');
  const { rope_parameters, ...neox } = configOf('gpt-neox');
  const { rope_theta: base, partial_rotary_factor: part } = rope_parameters as Fields;
  const old = await readArchitecture('older', { ...neox, rotary_emb_base: base, rotary_pct: part });
  assert.equal(old.rope, (await readArchitecture('newer', configOf('gpt-neox'))).rope);
  assert.is(old.rope?.dimensions, 4);
});

test('a sliding window ends the context, and the message says so', async () => {
  const { dims } = await readArchitecture('mistral', { ...configOf('mistral'), sliding_window: 32 });
  assert.is(dims.context, 32);
  await throws(() => checkLength('the prompt', 33, dims), Error, 'at most 32', 'sliding window');
  checkLength('the prompt', 32, dims);
  assert.is(
    (await readArchitecture('wide', { ...configOf('mistral'), sliding_window: 4096 })).dims.context,
    128,
  );
  const qwen = { ...configOf('qwen2'), sliding_window: 16 };
  assert.is((await readArchitecture('unused', qwen)).dims.context, 128);
  assert.is((await readArchitecture('used', { ...qwen, use_sliding_window: true })).dims.context, 16);
});

test('what is stacked on the device is stored one by one, and covers it', async () => {
  for (const name of ['gptj', 'gpt-neox', 'llama2', 'qwen2', 'qwen3']) {
    const architecture = await readArchitecture(name, configOf(name));
    const size = (shapes: Iterable<readonly number[]>): number =>
      [...shapes].reduce((sum, shape) => sum + shape.reduce((product, n) => product * n, 1), 0);
    const device = [...architecture.tensors.values()].map(({ shape }) => shape);
    assert.is(size(storedTensors(architecture).values()), size(device), name);
  }
  const { ignores, canonical } = await readArchitecture('gptj', configOf('gptj'));
  assert.ok(ignores('transformer.h.3.attn.masked_bias') && ignores('transformer.h.0.attn.bias'));
  assert.not.ok(ignores('transformer.h.0.mlp.fc_in.bias'));
  assert.is(canonical('lm_head.bias'), 'lm_head.bias');
  const neox = await readArchitecture('neox', configOf('gpt-neox'));
  assert.is(neox.canonical('lm_head.weight'), 'embed_out.weight');
});

const software = { adapter: { kind: 'software' } } as Parameters<typeof chooseStorage>[0];
const gpu = { adapter: { kind: 'gpu' } } as Parameters<typeof chooseStorage>[0];
const random = (size: keyof typeof MODEL_SIZES): Checkpoint =>
  randomCheckpoint(size, { architecture: MODEL_SIZES[size].architecture(), tokenizerJson: {} });

test('GPT-J: 24 GB in f32, 12 in 16 bits; what does not fit is refused before it is loaded', async () => {
  const gptj = random('gptj');
  const choose = (free: number, wanted: 'auto' | 'f32' | 'f16' = 'auto', on = software) =>
    chooseStorage(on, gptj, { wanted, editable: [5], free });
  assert.is(choose(32e9).storage, 'f32');
  assert.is(choose(32e9).reason, undefined);
  const half = choose(20e9);
  assert.is(half.storage, 'f16');
  assert.match(half.reason ?? '', /f32 would take 24\.2 GB of 20\.0 GB free/);
  assert.ok(half.bytes > 12.1e9 && half.bytes < 12.4e9, `${half.bytes}`);
  await throws(
    () => choose(20e9, 'f32'),
    ModelError,
    '24.2 GB in f32',
    '20.0 GB',
    '--weights f16 it takes 12.2 GB',
  );
  await throws(() => choose(8e9, 'f32'), ModelError, 'too much as well');
  await throws(() => choose(8e9), ModelError, '12.2 GB in f16', '8.0 GB', 'smaller model');
  assert.is(choose(8e9, 'auto', gpu).storage, 'f16'); // what a GPU holds is for it to say
  assert.is(
    chooseStorage(software, random('small'), { wanted: 'auto', editable: [], free: 1 }).storage,
    'f32',
  );
});

test('settings by the shape of a model; layers of a sweep, how sure they are, and where they are kept', async () => {
  const { architecture } = random('gptj');
  assert.is(knownSettings(architecture)?.edit_layer, 5);
  assert.is(knownSettings(architecture)?.source, 'kmeng01/rome');
  assert.is(knownSettings(random('small').architecture), undefined);

  const score = (layer: number, value: number) => ({ layer, n: 10, ES: value, NS: value, score: value });
  assert.equal(chooseLayer([score(0, 40), score(1, 95), score(2, 88), score(3, 84.9)]), {
    ...{ layer: 1, score: 95, alike: [2], n: 10 },
  });
  assert.is(chooseLayer([score(0, 0), score(1, 0)]), undefined);
  assert.equal(layersToSweep(4), [0, 1, 2]);
  assert.equal(layersToSweep(30, 27), [1, 4, 6, 9, 12, 15, 17, 20, 27]); // evenly from 1 to two thirds of 30

  await withFolder(async (folder) => {
    const before = process.env['PALIMPSEST_CACHE'];
    process.env['PALIMPSEST_CACHE'] = folder;
    try {
      let asked = 0;
      const hash = async (): Promise<string> => `${'ab'.repeat(31)}${(asked += 1) > 0 ? 'cd' : ''}`;
      assert.is(await readSweptLayer(hash), undefined);
      assert.is(asked, 0, 'nothing is hashed where no sweep was kept');
      await writeSweptLayer(await hash(), { layer: 7 });
      assert.is(await readSweptLayer(hash), 7);
      await mkdir(join(folder, 'layers'), { recursive: true });
      await writeFile(join(folder, 'layers', `${await hash()}.json`), '{');
      assert.is(await readSweptLayer(hash), undefined);
    } finally {
      if (before === undefined) delete process.env['PALIMPSEST_CACHE'];
      else process.env['PALIMPSEST_CACHE'] = before;
    }
  });
});

test.run();
