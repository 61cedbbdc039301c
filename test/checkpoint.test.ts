import { appendFile, cp, mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError, UsageError } from '../src/errors.ts';
import { readArchitecture } from '../src/models/checkpoint.ts';
import { readGpt2 } from '../src/models/gpt2.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { findModel, openModel, readManifest } from '../src/io/models.ts';
import { openSafetensors, sha256File } from '../src/io/file.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { throws, withFolder } from './folder.ts';

const test = suite('checkpoint');
const FACTS = fileURLToPath(new URL('../weights/facts', import.meta.url));

const CONFIG = {
  model_type: 'gpt2',
  n_embd: 6,
  n_layer: 2,
  n_head: 3,
  n_positions: 5,
  vocab_size: 7,
  n_inner: null,
  layer_norm_epsilon: 1e-5,
  activation_function: 'gelu_new',
};

const { tensors: TABLE } = await readArchitecture('test', CONFIG);

/** Every tensor of a config, filled with its own index, named by `rename`. */
function tensors(rename = (name: string) => name): TensorToWrite[] {
  return [...TABLE].map(([name, { shape }], i) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(i);
    return { name: rename(name), dtype: 'F32', shape, data: new Uint8Array(data.buffer) };
  });
}

/** A complete folder; `change` may alter what goes into it. */
async function withCheckpoint(
  use: (folder: string) => Promise<unknown>,
  change: {
    config?: object;
    tensors?: (all: TensorToWrite[]) => TensorToWrite[];
    rename?: (name: string) => string;
  } = {},
): Promise<void> {
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...CONFIG, ...change.config }));
    await writeFile(join(folder, 'tokenizer.json'), '{"model": {}}');
    const all = tensors(change.rename);
    await writeSafetensors(join(folder, 'model.safetensors'), change.tensors?.(all) ?? all);
    await use(folder);
  });
}

async function first(
  file: { chunks(name: string, maxBytes: number): AsyncIterable<Uint8Array> },
  name: string,
): Promise<number> {
  for await (const piece of file.chunks(name, 4)) return new DataView(piece.buffer).getFloat32(0, true);
  throw new Error(`${name} is empty`);
}

test('opens a folder: config, JSON files, tensors under plain names, the hash of the weights', async () => {
  for (const rename of [(name: string) => name, (name: string) => `transformer.${name}`]) {
    await withCheckpoint(
      async (folder) => {
        const checkpoint = await openCheckpoint(folder, { id: 'mine' });
        assert.is(checkpoint.id, 'mine');
        assert.is(checkpoint.architecture.dims.F, 24);
        assert.equal(checkpoint.tokenizerJson, { model: {} });
        assert.equal(checkpoint.tokenizerConfig, {}); // the file may be absent
        const names = [...checkpoint.architecture.tensors.keys()];
        assert.equal(checkpoint.tensors.names(), names);
        assert.is(names.length, 2 + 12 * 2 + 2);
        assert.equal(checkpoint.tensors.info('h.1.mlp.c_proj.weight').shape, [24, 6]);
        const index = names.indexOf('h.1.mlp.c_proj.weight');
        assert.is(await first(checkpoint.tensors, 'h.1.mlp.c_proj.weight'), index);
        assert.is(await checkpoint.sha256(), await sha256File(join(folder, 'model.safetensors')));
        await throws(() => checkpoint.tensors.info('h.2.ln_1.bias'), ModelError, 'h.2.ln_1.bias');
      },
      { rename },
    );
  }
  const { canonical } = await readArchitecture('mine', CONFIG);
  assert.is(canonical('transformer.transformer.wte.weight'), 'transformer.wte.weight'); // once, not for ever
});

test('a folder that is absent, a file, or incomplete: says which file and what a folder holds', async () => {
  await withFolder(async (folder) => {
    const holds = 'config.json, tokenizer.json, model.safetensors';
    await throws(
      () => openCheckpoint(join(folder, 'no')),
      ModelError,
      join(folder, 'no'),
      'does not exist',
      holds,
    );
    await writeFile(join(folder, 'file'), '');
    await throws(() => openCheckpoint(join(folder, 'file')), ModelError, 'is a file, not a folder', holds);
    await throws(() => openCheckpoint(folder), ModelError, holds, folder, 'config.json is missing');
  });
  for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
    await withCheckpoint(async (folder) => {
      await rm(join(folder, name));
      await throws(() => openCheckpoint(folder), ModelError, folder, `${name} is missing`);
      await mkdir(join(folder, name)); // a folder of that name is no file
      await throws(() => openCheckpoint(folder), ModelError, folder, `${name} is missing`);
    });
  }
  await withCheckpoint(async (folder) => {
    await rm(join(folder, 'model.safetensors'));
    await writeFile(join(folder, 'pytorch_model.bin'), '');
    await throws(
      () => openCheckpoint(folder),
      ModelError,
      'model.safetensors is missing',
      'pytorch_model.bin is a pickle',
    );
  });
});

test('shards: all are opened under one index; one that is missing, says twice or not what the index says is refused', async () => {
  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
  await withCheckpoint(async (folder) => {
    await rm(join(folder, 'model.safetensors'));
    const list = tensors();
    const half = (odd: number): TensorToWrite[] => list.filter((_, i) => i % 2 === odd);
    const index = join(folder, 'model.safetensors.index.json');
    const map = Object.fromEntries(list.map(({ name }, i) => [name, i % 2 === 0 ? one : two]));
    const write = (weight_map: object): Promise<void> => writeFile(index, JSON.stringify({ weight_map }));
    await write(map);
    await writeSafetensors(join(folder, one), half(0));
    await throws(() => openCheckpoint(folder), ModelError, `${two} is missing`);
    await writeSafetensors(join(folder, two), half(1));
    const { tensors: file } = await openCheckpoint(folder);
    const name = 'h.1.mlp.c_proj.weight';
    assert.is(await first(file, name), file.names().indexOf(name));

    await write({ ...map, 'h.9.ln_1.bias': one });
    await throws(() => openCheckpoint(folder), ModelError, index, '"h.9.ln_1.bias"', one);
    await write({ ...map, [name]: map[name] === one ? two : one });
    await throws(() => openCheckpoint(folder), ModelError, index, `"${name}"`);
    for (const outside of ['../x.safetensors', '/x.safetensors', 'x/y.safetensors', 'x.bin', 7, '']) {
      await write({ ...map, [name]: outside });
      await throws(() => openCheckpoint(folder), ModelError, index, name, 'same folder');
    }
    await write(map);
    await writeSafetensors(join(folder, two), list.slice(0, 3));
    await throws(() => openCheckpoint(folder), ModelError, 'is in', one);
    for (const text of ['{}', '{"weight_map": {}}', '{"weight_map": []}', '[', '']) {
      await writeFile(index, text);
      await throws(() => openCheckpoint(folder), ModelError, index);
    }
  });
});

test('files that are cut short or no JSON', async () => {
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
    await withCheckpoint(async (folder) => {
      await writeFile(join(folder, name), '{"model_type": "gp');
      await throws(() => openCheckpoint(folder), ModelError, join(folder, name), 'expected JSON');
    });
  }
  await withCheckpoint(async (folder) => {
    const path = join(folder, 'model.safetensors');
    await truncate(path, (await readFile(path)).length - 1);
    await throws(() => openCheckpoint(folder), ModelError, path, 'truncated');
  });
});

test('another architecture: says which one and which are supported, whatever else is missing', async () => {
  await withFolder(async (folder) => {
    const config = { model_type: 'bloom', architectures: ['BloomForCausalLM'] };
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    await throws(
      () => openCheckpoint(folder),
      ModelError,
      '"bloom"',
      'BloomForCausalLM',
      'gpt_neox',
      'Qwen 2 and 3',
    );
  });
});

const BAD_CONFIG: [change: Record<string, unknown>, ...words: string[]][] = [
  [{ model_type: undefined }, 'got none', 'gpt2'],
  [{ n_embd: 0 }, 'n_embd', '> 0', 'got 0'],
  [{ n_embd: undefined }, 'n_embd', 'got undefined'],
  [{ n_layer: 1.5 }, 'n_layer', 'got 1.5'],
  [{ n_head: '3' }, 'n_head', 'got "3"'],
  [{ n_head: 4 }, 'n_head', 'divisor of n_embd 6', 'got 4'],
  [{ n_positions: null }, 'n_positions', 'got null'],
  [{ vocab_size: -7 }, 'vocab_size', 'got -7'],
  [{ n_inner: 0 }, 'n_inner', 'got 0'],
  [{ layer_norm_epsilon: 0 }, 'layer_norm_epsilon', 'got 0'],
  [{ layer_norm_epsilon: '1e-5' }, 'layer_norm_epsilon', 'got "1e-5"'],
  [{ activation_function: 'gelu' }, 'activation_function', 'gelu_new', 'got "gelu"'],
  [{ activation_function: 'relu' }, 'activation_function', 'got "relu"'],
  [{ tie_word_embeddings: false }, 'tie_word_embeddings', 'expected true', 'got false'],
  [{ scale_attn_weights: false }, 'scale_attn_weights', 'expected true', 'got false'],
  [
    { scale_attn_by_inverse_layer_idx: true },
    'scale_attn_by_inverse_layer_idx',
    'expected false',
    'got true',
  ],
  [{ add_cross_attention: true }, 'add_cross_attention', 'expected false', 'got true'],
];

for (const [change, ...words] of BAD_CONFIG) {
  test(`config.json with ${JSON.stringify(change)} is refused`, async () => {
    await throws(
      () => readArchitecture('mine', { ...CONFIG, ...change }),
      ModelError,
      'mine',
      'config.json',
      ...words,
    );
  });
}

test('config.json: what may be left out, and what changes nothing', async () => {
  const { n_positions: _, layer_norm_epsilon: __, activation_function: ___, ...rest } = CONFIG;
  const { dims, constants } = readGpt2('mine', {
    ...rest,
    n_ctx: 9,
    n_inner: 10,
    reorder_and_upcast_attn: true,
    tie_word_embeddings: null,
  });
  assert.equal(dims, { D: 6, F: 10, H: 3, KV: 3, S: 2, V: 7, layers: 2, context: 9 });
  assert.is(constants.at(-1), 1e-5);
  assert.is(readGpt2('mine', { ...CONFIG, n_ctx: 9 }).dims.context, 5);
  assert.is(readGpt2('mine', { ...CONFIG, activation_function: 'gelu_pytorch_tanh' }).dims.D, 6);
  for (const json of [null, [], 'gpt2'])
    await throws(() => readArchitecture('mine', json), ModelError, 'JSON object');
});

test('tensors: every one that is missing, misshapen, of another dtype or unknown is named at once', async () => {
  await withCheckpoint(
    async (folder) => {
      await throws(
        () => openCheckpoint(folder, { id: 'mine' }),
        ModelError,
        'model mine: expected the 28 tensors',
        'h.0.ln_1.bias [6] is missing',
        'h.1.attn.c_attn.weight should be [6, 18], it is [18, 6]',
        'wpe.weight should be one of F32, F16, BF16, it is F64',
        'lm_head.weight should be [7, 6], it is [6, 7]',
        'score.weight is no tensor of this gpt2',
        'wte.weight is there twice',
      );
    },
    {
      tensors: (all) => [
        ...all
          .filter(({ name }) => name !== 'h.0.ln_1.bias')
          .map((tensor): TensorToWrite => {
            if (tensor.name === 'h.1.attn.c_attn.weight') return { ...tensor, shape: [18, 6] };
            if (tensor.name === 'wpe.weight')
              return { ...tensor, dtype: 'F64', data: new Uint8Array(8 * 30) };
            return tensor;
          }),
        { name: 'lm_head.weight', dtype: 'F32', shape: [6, 7], data: new Uint8Array(4 * 42) },
        { name: 'score.weight', dtype: 'F32', shape: [1], data: new Uint8Array(4) },
        { name: 'transformer.wte.weight', dtype: 'F32', shape: [7, 6], data: new Uint8Array(4 * 42) },
      ],
    },
  );
});

test('tensors: a config with fewer or more layers than the file is refused', async () => {
  await withCheckpoint(
    (folder) => throws(() => openCheckpoint(folder), ModelError, 'h.1.mlp.c_fc.bias is no tensor'),
    {
      config: { n_layer: 1 },
    },
  );
  await withCheckpoint(
    (folder) => throws(() => openCheckpoint(folder), ModelError, 'h.2.mlp.c_fc.bias [24] is missing'),
    {
      config: { n_layer: 3 },
    },
  );
});

test('tensors: saved masks and a tied lm_head are ignored', async () => {
  await withCheckpoint(
    async (folder) => {
      const { tensors: file } = await openCheckpoint(folder);
      assert.is(file.names().length, 28);
      assert.not.ok(file.names().includes('lm_head.weight'));
    },
    {
      tensors: (all) => [
        ...all,
        { name: 'h.0.attn.bias', dtype: 'BOOL', shape: [1, 1, 5, 5], data: new Uint8Array(25) },
        { name: 'transformer.h.1.attn.masked_bias', dtype: 'F32', shape: [], data: new Uint8Array(4) },
        { name: 'lm_head.weight', dtype: 'F32', shape: [7, 6], data: new Uint8Array(4 * 42) },
      ],
    },
  );
});

test('the bundled model opens, and is what the manifest says', async () => {
  const { checkpoint, entry } = await openModel('facts', { offline: true });
  assert.is(checkpoint.id, 'facts');
  assert.is(checkpoint.architecture.dims.layers, 8);
  assert.is(entry?.edit_layer, 1);
  assert.is(await checkpoint.sha256(), await sha256File(join(FACTS, 'model.safetensors')));
  assert.is(checkpoint.tensors.info('wte.weight').dtype, 'F16');
  const raw = await openSafetensors(join(FACTS, 'model.safetensors'));
  const { value } = await checkpoint.tensors.chunks('ln_f.bias', 512)[Symbol.asyncIterator]().next();
  assert.equal(value, await raw.read('transformer.ln_f.bias'));
});

test('a bundled file that was changed: expected and actual size or sha256', async () => {
  const { models } = await readManifest();
  const manifest = models['facts'];
  for (const name of ['config.json', 'tokenizer_config.json', 'tokenizer.json']) {
    const check = manifest!.files![name]!;
    await withFolder(async (folder) => {
      await cp(FACTS, folder, { recursive: true });
      await openCheckpoint(folder, { files: manifest?.files });
      const path = join(folder, name);
      const text = await readFile(path, 'utf8');
      await writeFile(path, text.replace('"', "'"));
      const actual = await sha256File(path);
      await throws(
        () => openCheckpoint(folder, { files: manifest?.files }),
        ModelError,
        path,
        check.sha256,
        actual,
      );
      await appendFile(path, ' ');
      await throws(
        () => openCheckpoint(folder, { files: manifest?.files }),
        ModelError,
        path,
        `${check.bytes} bytes`,
        `has ${check.bytes + 1}`,
      );
      await rm(path);
      await throws(
        () => openCheckpoint(folder, { files: manifest?.files }),
        ModelError,
        path,
        'there is none',
      );
    });
  }
});

test('the manifest: malformed entries are named', async () => {
  const good = { folder: 'x', edit_layer: 1, clamp: 4 };
  const bad: [unknown, ...string[]][] = [
    ['text', '"m"', 'Object'],
    [{ ...good, hub: 'a/b' }, '"m"', 'either "folder" or "hub"'],
    [{ ...good, edit_layer: -1 }, '"m"', 'edit_layer'],
    [{ ...good, clamp: 0 }, '"m"', 'clamp'],
    [{ ...good, files: { a: { sha256: 'xyz', bytes: 1 } } }, '"m"', 'files'],
    [{ ...good, covariance: { 'layer-1': { sha256: '0'.repeat(64), bytes: 1 } } }, '"m"', 'covariance'],
  ];
  await withFolder(async (folder) => {
    const path = join(folder, 'manifest.json');
    for (const [entry, ...words] of bad) {
      await writeFile(path, JSON.stringify({ m: entry }));
      await throws(() => readManifest(path), ModelError, path, ...words);
    }
    await writeFile(path, '[');
    await throws(() => readManifest(path), ModelError, path, 'JSON');
    await writeFile(
      path,
      JSON.stringify({
        m: { ...good, covariance: { 'layer-1': { file: 'c', sha256: '0'.repeat(64), bytes: 1 } } },
      }),
    );
    assert.is((await readManifest(path)).root, folder);
  });
});

test('--model: a bundled name, a folder, a path that is none, a name that is none', async () => {
  const { models } = await readManifest();
  assert.equal(Object.keys(models), ['facts', 'gpt2', 'gpt2-medium', 'gpt2-large', 'gpt2-xl']);
  assert.equal(await findModel('facts'), { id: 'facts', folder: FACTS, entry: models['facts'] });
  assert.equal(await findModel(FACTS), { id: FACTS, folder: FACTS, entry: models['facts'] }); // by its path, still checked
  await withFolder(async (folder) => {
    assert.equal(await findModel(folder), { id: folder, folder, entry: undefined });
    await symlink(FACTS, join(folder, 'link'));
    assert.is((await openCheckpoint(join(folder, 'link'))).architecture.dims.V, 8192);
    await throws(
      () => findModel(join(folder, 'no')),
      ModelError,
      join(folder, 'no'),
      'there is none',
      'gpt2-xl',
    );
    await throws(() => openModel(join(FACTS, 'config.json')), ModelError, 'is a file, not a folder');
  });
  await throws(() => findModel('a b'), UsageError, '"a b"', 'openai-community/gpt2');
  assert.is(basename(FACTS), 'facts');
});

test.run();
