/** Covariance files: all facts readable, every damage and mistake named; which file `auto` means; ROME's archives. */
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packSymmetric, unpackSymmetric } from '../src/edit/panels.ts';
import { EditRefused, ModelError, UsageError } from '../src/errors.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { readGpt2 } from '../src/models/gpt2.ts';
import { buildKey } from '../src/io/covariance-build.ts';
import { readState, writeState } from '../src/io/covariance-state.ts';
import { panelTensors, readMatrices } from '../src/formats/covariance-file.ts';
import { covarianceKey, formatShards, parseShards } from '../src/formats/covariance-identity.ts';
import type { CovarianceFacts } from '../src/formats/covariance-identity.ts';
import {
  findCovariance,
  loadCovariance,
  openCovariance,
  writeCovariance,
  covarianceFolder,
} from '../src/io/covariance-files.ts';
import { mergeCovariances } from '../src/io/covariance-merge.ts';
import { exportRome, importRome } from '../src/io/covariance-rome.ts';
import { readManifest } from '../src/io/models.ts';
import type { Manifest } from '../src/io/models.ts';
import { readRomeStatistics } from '../src/formats/rome-statistics.ts';
import { openSource } from '../src/io/file.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { parseShard, shareOf } from '../src/io/shard.ts';
import { tensorsBelow, tokenizerHash, weightsHash } from '../src/io/model-folder.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';
import { relativeError } from './reference/allclose.ts';
import { TINY_CONFIG, tinyCheckpoint } from './tiny.ts';

const test = suite('covariance-file');
const F = 96;
const npz = (name: string): string => fileURLToPath(new URL(`golden/npz/${name}.npz`, import.meta.url));

async function factsOf(
  checkpoint: Checkpoint,
  change: Partial<CovarianceFacts> = {},
): Promise<CovarianceFacts> {
  return {
    model: 'tiny',
    modelSha256: await checkpoint.sha256(),
    weights: await weightsHash(checkpoint, change.layer ?? 1),
    storage: 'f32',
    tokenizer: tokenizerHash(checkpoint),
    layer: 1,
    size: F,
    corpusName: 'books, notes.txt',
    corpus: 'c0ffee',
    context: 48,
    wanted: undefined,
    shards: undefined,
    tokens: 1000,
    documents: 30,
    cut: 3,
    empty: 2,
    invalid: 1,
    ...change,
  };
}

/** Some symmetric matrix. */
function panels(seed = 1): Float32Array<ArrayBuffer> {
  const rows = Float32Array.from({ length: F * F }, (_, at) => {
    const [i, j] = [Math.floor(at / F), at % F];
    return Math.sin(seed + i * j + i + j) + (i === j ? 2 : 0);
  });
  return packSymmetric(rows, F);
}

async function write(
  folder: string,
  change: Partial<CovarianceFacts> = {},
  name = 'c.safetensors',
): Promise<string> {
  const facts = await factsOf(tinyCheckpoint(), change);
  const path = join(folder, name);
  const C = panels();
  const matrices = facts.shards ? { 'S.high': C, 'S.low': new Float32Array(C.length) } : { C };
  await writeCovariance(facts, matrices, { out: path });
  return path;
}

test('a file gives back its facts and its numbers', async () => {
  await withFolder(async (folder) => {
    const path = await write(folder, { wanted: 1000 });
    const file = await openCovariance(path);
    assert.equal(file.facts, await factsOf(tinyCheckpoint(), { wanted: 1000 }));
    assert.is(file.key, await covarianceKey(file.facts));
    assert.equal((await readMatrices(file))['C'], panels());
    const loaded = await loadCovariance(path, tinyCheckpoint(), 1);
    assert.equal([loaded.key, loaded.size, loaded.tokens], [file.key, F, 1000]);
    const part = await openCovariance(await write(folder, { shards: { indices: [0, 2], of: 4 } }));
    assert.equal(part.facts.shards, { indices: [0, 2], of: 4 });
  });
});

test('the key changes with everything that is known before a build, and with nothing else', async () => {
  const facts = await factsOf(tinyCheckpoint());
  const changes: Partial<CovarianceFacts>[] = [
    { weights: 'x' },
    { storage: 'f16' },
    { tokenizer: 'x' },
    { layer: 0 },
    { size: 64 },
    { corpus: 'x' },
    { wanted: 1000 },
    { wanted: 1001 },
    { context: 47 },
    { shards: { indices: [0], of: 2 } },
    { shards: { indices: [1], of: 2 } },
    { shards: { indices: [0], of: 3 } },
  ];
  const keys = await Promise.all(changes.map((change) => covarianceKey({ ...facts, ...change })));
  assert.is(new Set([await covarianceKey(facts), ...keys]).size, changes.length + 1);
  const others = {
    model: 'x',
    modelSha256: 'x',
    corpusName: 'x',
    tokens: 1,
    documents: 1,
    cut: 9,
    empty: 9,
    invalid: 9,
  };
  assert.is(await covarianceKey({ ...facts, ...others }), await covarianceKey(facts));
  // An unfinished build serves any number of tokens.
  assert.is(await buildKey([{ ...facts, wanted: 5 }]), await buildKey([facts]));
  assert.is.not(await buildKey([facts, { ...facts, layer: 0 }]), await buildKey([facts]));
});

test('the weights that count are the embeddings and what lies below the key', async () => {
  const tiny = tinyCheckpoint();
  const block = ['attn.c_attn', 'attn.c_proj', 'ln_1', 'ln_2', 'mlp.c_fc'].flatMap((name) =>
    ['bias', 'weight'].map((part) => `${name}.${part}`),
  );
  const above = ['mlp.c_proj.bias', 'mlp.c_proj.weight'];
  assert.equal(tensorsBelow(tiny.architecture, 1), [
    ...[...block, ...above].map((name) => `h.0.${name}`).sort(),
    ...block.map((name) => `h.1.${name}`),
    'wpe.weight',
    'wte.weight',
  ]);
  const other = (name: string): Checkpoint => ({
    ...tiny,
    tensors: {
      ...tiny.tensors,
      chunks: (wanted, most) => (wanted === name ? tinyCheckpoint(2) : tiny).tensors.chunks(wanted, most),
    },
  });
  const own = await weightsHash(tiny, 0);
  for (const name of ['wte.weight', 'h.0.attn.c_attn.weight', 'h.0.mlp.c_fc.weight'])
    assert.is.not(await weightsHash(other(name), 0), own, name);
  for (const name of ['h.0.mlp.c_proj.weight', 'h.1.mlp.c_fc.weight'])
    assert.is(await weightsHash(other(name), 0), own, name);
});

test('damaged and foreign files are named and refused', async () => {
  await withFolder(async (folder) => {
    const path = await write(folder);
    const good = await readFile(path);
    const spoil = async (change: (bytes: Buffer) => Buffer): Promise<string> => {
      const other = join(folder, 'spoilt.safetensors');
      await writeFile(other, change(Buffer.from(good)));
      return other;
    };
    const replace =
      (from: string, to: string) =>
      (bytes: Buffer): Buffer => {
        const at = bytes.indexOf(from);
        assert.ok(at > 0 && from.length === to.length);
        bytes.write(to, at);
        return bytes;
      };
    const cases: [(bytes: Buffer) => Buffer, RegExp][] = [
      [(bytes) => ((bytes[bytes.length - 4000]! ^= 1), bytes), /numbers are damaged: expected the checksum/],
      [(bytes) => bytes.subarray(0, bytes.length - 1), /truncated/],
      [replace('"layer":"1"', '"layer":"0"'), /its metadata was changed/],
      [replace('"layer":"1"', '"layer":"x"'), /"layer": expected a whole number, got "x"/],
      [replace('"version":"1"', '"version":"9"'), /expected version 1, it has 9/],
      [replace('"shards":""', '"sharts":""'), /expected "shards" in its metadata/],
      [replace('"size":"96"', '"size":"95"'), /metadata was changed/],
      [replace('"checksum"', '"checksun"'), /expected the checksum \(none\)/],
      [() => Buffer.from('hello, no tensors here'), /no safetensors file/],
    ];
    for (const [change, words] of cases) {
      const spoilt = await spoil(change);
      await throws(
        () => loadCovariance(spoilt, tinyCheckpoint(), 1),
        ModelError,
        'spoilt.safetensors',
        words,
      );
    }
    const foreign = join(folder, 'model.safetensors');
    await writeSafetensors(foreign, panelTensors({ W: panels() }, F));
    await throws(() => openCovariance(foreign), ModelError, 'model.safetensors', 'expected a file of');
    await writeCovariance(await factsOf(tinyCheckpoint()), { W: panels() }, { out: foreign });
    await throws(() => openCovariance(foreign), ModelError, 'expected the tensors C, it has W');
    await throws(
      () => openCovariance(join(folder, 'no.safetensors')),
      ModelError,
      'no.safetensors',
      'ENOENT',
    );
    await throws(() => openCovariance(npz('stored')), ModelError, 'covariance import');
  });
});

test('a file of another model, layer, size, or a part: everything that differs is said', async () => {
  await withFolder(async (folder) => {
    const path = await write(folder);
    const load = (file: string, checkpoint = tinyCheckpoint(), layer = 1): Promise<unknown> =>
      loadCovariance(file, checkpoint, layer);
    await throws(() => load(path, tinyCheckpoint(2)), ModelError, 'it is of the model tiny', 'others');
    await throws(() => load(path, tinyCheckpoint(), 0), ModelError, 'that of layer 0', 'it is of layer 1');
    const small = { ...tinyCheckpoint(), architecture: readGpt2('tiny', { ...TINY_CONFIG, n_inner: 64 }) };
    await throws(() => load(path, small), ModelError, 'its order is 96', '64 numbers');
    const part = await write(folder, { shards: { indices: [0], of: 2 } });
    await throws(() => load(part), ModelError, 'it is a part (shard 0 of 2)', 'covariance merge');
    // The same weights in another file, e.g. with a head fine-tuned above the layer, are the same model here.
    const resaved = { ...tinyCheckpoint(), sha256: () => Promise.resolve('resaved') };
    await load(await write(folder), resaved);
  });
});

test('merging keeps what only the low part holds', async () => {
  await withFolder(async (folder) => {
    const parts: string[] = [];
    for (const index of [0, 1]) {
      const high = panels().fill(2 ** 24);
      const facts = await factsOf(tinyCheckpoint(), { shards: { indices: [index], of: 3 }, tokens: 8 });
      parts.push(join(folder, `${index}.safetensors`));
      const sums = { 'S.high': high, 'S.low': panels().fill(0.75 + index) };
      await writeCovariance(facts, sums, { out: parts[index]! });
    }
    const merged = await openCovariance((await mergeCovariances(parts, join(folder, 'sum'))).path);
    const sum = await readMatrices(merged);
    // 2^24 + 0.75 + 2^24 + 1.75: f32 holds every fourth integer there.
    assert.equal([sum['S.high']![7], sum['S.low']![7]], [2 ** 25 + 4, -1.5]);
    assert.is(merged.facts.tokens, 16);
  });
});

test('auto: the bundled file, checked; else the one of most tokens in the cache; else where it looked', async () => {
  await withFolder(async (folder) => {
    const checkpoint = tinyCheckpoint();
    const found = covarianceFolder('tiny', await checkpoint.sha256(), folder);
    await throws(
      () => findCovariance(checkpoint, 1, undefined, { cache: folder }),
      EditRefused,
      found.split('/').at(-1)!,
      'covariance build',
    );
    await write(found, { tokens: 10, wanted: 10 }, 'layer-1.a.safetensors');
    const most = await write(found, { tokens: 30 }, 'layer-1.b.safetensors');
    await write(found, { tokens: 20, wanted: 20 }, 'layer-1.c.safetensors');
    await write(found, { tokens: 90, shards: { indices: [0], of: 2 } }, 'layer-1.d.safetensors');
    await write(found, { tokens: 99, layer: 0 }, 'layer-0.e.safetensors');
    await writeFile(join(found, 'build-x.state'), 'not looked at');
    assert.is(await findCovariance(checkpoint, 1, undefined, { cache: folder }), most);

    // Damaged ones are set aside with a word: half a file, numbers that were changed, and a count that nobody can read.
    const notices: string[] = [];
    const options = { cache: folder, onNotice: (text: string) => void notices.push(text) };
    const more = await write(found, { tokens: 50, wanted: 50 }, 'layer-1.g.safetensors');
    const bytes = await readFile(more);
    await writeFile(join(found, 'layer-1.f.safetensors'), bytes.subarray(0, 1000));
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(more, bytes);
    await write(found, { tokens: 1e15, wanted: 1e15 }, 'layer-1.h.safetensors');
    assert.is(await findCovariance(checkpoint, 1, undefined, options), most);
    assert.is(notices.length, 3, notices.join('\n'));
    for (const letter of ['f', 'g', 'h']) {
      const name = `layer-1.${letter}.safetensors`;
      assert.ok(notices.some((text) => text.includes(`${name}.damaged from now on`)));
      assert.ok((await readdir(found)).includes(`${name}.damaged`));
    }

    const manifest = await readManifest();
    const root = join(folder, 'weights');
    const entry = manifest.models['facts']!;
    const listed = entry.covariance!['layer-1']!;
    await mkdir(join(root, 'facts'), { recursive: true });
    await copyFile(join(manifest.root, 'facts', listed.file), join(root, 'facts', listed.file));
    const moved: Manifest = { ...manifest, root };
    const bundled = await findCovariance(checkpoint, 1, entry, { manifest: moved, cache: folder });
    assert.is(bundled, join(root, 'facts', listed.file));
    await writeFile(bundled, (await readFile(bundled)).fill(1, 3000, 3001));
    await throws(
      () => findCovariance(checkpoint, 1, entry, { manifest: moved, cache: folder }),
      ModelError,
      listed.file,
      'sha256',
    );
    // Another layer of a bundled model comes from the cache.
    assert.is(dirname(await findCovariance(checkpoint, 0, entry, { manifest: moved, cache: folder })), found);
  });
});

test('a saved state gives back a build; one that is damaged or of another build is refused', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'build.state');
    const position = { file: 1, offset: 77, line: 5, documents: 4, empty: 1, invalid: 0 };
    const sums = [3, 5].map((layer) => ({ layer, high: panels(layer), low: panels(layer + 10) }));
    const state = { tokens: 123, documents: 4, cut: 1, skipped: 6, position, sums };
    assert.is(await readState(path, 'k', [3, 5]), undefined);
    await writeState(path, 'k', F, state);
    assert.equal(await readState(path, 'k', [3, 5]), state);
    await throws(() => readState(path, 'other', [3, 5]), ModelError, 'of build k', '--restart');
    await throws(() => readState(path, 'k', [3, 7]), ModelError, 'no sum of layer 7');
    const bytes = await readFile(path);
    bytes[bytes.length - 9]! ^= 4;
    await writeFile(path, bytes);
    await throws(() => readState(path, 'k', [3, 5]), ModelError, path, 'damaged', '--restart');
    await holdsOnly(folder, ['build.state']);
  });
});

test('to ROME’s archive and back: the same matrix to rounding, tokens and documents', async () => {
  await withFolder(async (folder) => {
    const path = await write(folder);
    const archive = join(folder, 'c.npz');
    await exportRome(path, archive);
    const { covariance, size, tokens, documents } = await readRomeStatistics(
      await openSource(archive, Error),
    );
    assert.equal([size, tokens, documents], [F, 1000, 30]);
    const want = unpackSymmetric(panels(), F);
    assert.ok(relativeError(covariance, want) <= 1e-7);

    const out = join(folder, 'back.safetensors');
    // Our own archive says which layer and weights it is of.
    const back = await importRome(archive, tinyCheckpoint(), { out });
    assert.is(back.facts.layer, 1);
    const import_ =
      (layer: number | undefined, seed: number, from = archive) =>
      () =>
        importRome(from, tinyCheckpoint(seed), { layer, out });
    await throws(import_(0, 1), UsageError, 'c.npz', 'of layer 0, they are of layer 1', '--layer');
    await throws(import_(undefined, 2), UsageError, 'they are of another model', '--model');
    assert.equal([back.facts.tokens, back.facts.documents, back.facts.corpusName], [1000, 30, 'c.npz']);
    const loaded = await loadCovariance(out, tinyCheckpoint(), 1);
    assert.ok(relativeError(unpackSymmetric(loaded.panels, F), want) <= 1e-7);

    const tiny = tinyCheckpoint();
    const narrow = { ...tiny, architecture: readGpt2('tiny', { ...TINY_CONFIG, n_inner: 6 }) };
    const numpy = await importRome(npz('stored'), narrow, {
      layer: 1,
      out: join(folder, 'numpy.safetensors'),
    });
    assert.equal([numpy.facts.tokens, numpy.facts.documents, numpy.facts.size], [40, 3, 6]);
    const { panels: six } = await loadCovariance(numpy.path, narrow, 1);
    assert.equal(
      unpackSymmetric(six, 6),
      (await readRomeStatistics(await openSource(npz('stored'), Error))).covariance,
    );
    await throws(() => importRome(npz('stored'), narrow, { out }), UsageError, 'Say it with --layer');
    const { layers } = narrow.architecture.dims;
    const beyond = `layers 0 to ${layers - 1}`;
    await throws(() => importRome(npz('stored'), narrow, { layer: layers, out }), UsageError, beyond);
    // ROME's has its layer in the name.
    const named = join(folder, 'transformer.h.1.mlp.c_proj_float32_mom2_40.npz');
    await copyFile(npz('stored'), named);
    assert.is((await importRome(named, narrow, { out })).facts.layer, 1);
    await throws(
      () => importRome(npz('stored'), tinyCheckpoint(), { layer: 1, out }),
      UsageError,
      'order 96',
      'of order 6',
    );
    const part = await write(folder, { shards: { indices: [0], of: 2 } });
    await throws(() => exportRome(part, archive), ModelError, 'it is a part');
  });
});

test('--shard: i/n, and what Slurm, Kubernetes and MPI say', () => {
  assert.equal(parseShard('0/4', {}), { index: 0, of: 4 });
  const slurm = {
    SLURM_ARRAY_TASK_ID: '30',
    SLURM_ARRAY_TASK_MIN: '10',
    SLURM_ARRAY_TASK_STEP: '10',
    SLURM_ARRAY_TASK_COUNT: '4',
  };
  assert.equal(parseShard('auto', slurm), { index: 2, of: 4 });
  assert.equal(
    parseShard('auto', { SLURM_ARRAY_TASK_ID: '1', SLURM_ARRAY_TASK_MIN: '1', SLURM_ARRAY_TASK_COUNT: '8' }),
    { index: 0, of: 8 },
  );
  assert.equal(parseShard('auto/8', { JOB_COMPLETION_INDEX: '7' }), { index: 7, of: 8 });
  assert.equal(parseShard('auto', { OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_SIZE: '5' }), {
    index: 3,
    of: 5,
  });
  const cases: [string, Record<string, string>, RegExp][] = [
    ['4/4', {}, /from 0\/4 to 3\/4, it is 4\/4/],
    ['0/0', {}, /it is 0\/0/],
    ['-1/4', {}, /expected i\/n/],
    ['1', {}, /expected i\/n/],
    ['auto', {}, /found none/],
    ['auto', { JOB_COMPLETION_INDEX: '1' }, /Write --shard auto\/n/],
    ['auto/2', { JOB_COMPLETION_INDEX: '2' }, /JOB_COMPLETION_INDEX=2: expected a shard/],
    ['auto', { SLURM_ARRAY_TASK_ID: 'x' }, /SLURM_ARRAY_TASK_ID: expected a whole number/],
    ['auto', { ...slurm, SLURM_ARRAY_TASK_ID: '35' }, /it is 2\.5\/4/],
  ];
  for (const [text, env, words] of cases)
    assert.throws(
      () => parseShard(text, env),
      (error: Error) => error instanceof UsageError && words.test(error.message),
      text,
    );
  for (const tokens of [0, 1, 7, 1000])
    assert.is(
      [0, 1, 2].reduce((sum, index) => sum + shareOf(tokens, { index, of: 3 }), 0),
      tokens,
    );
  for (const shards of [undefined, { indices: [0], of: 1 }, { indices: [1, 3, 11], of: 12 }])
    assert.equal(parseShards(formatShards(shards)), shards);
  assert.is(parseShards('1 in 2'), null);
});

test.run();
