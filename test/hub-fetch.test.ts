/** Fetching from a hub that lies, stops, never ends, or is asked by two at once: a real server, and real processes. */
import { createHash } from 'node:crypto';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError } from '../src/errors.ts';
import { safetensorsBytes } from '../src/formats/safetensors.ts';
import { resolveHubModel } from '../src/io/hub.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { recordTensors } from '../src/edit/record.ts';
import { throws, withFolder } from './folder.ts';
import { COMMIT, withHub } from './hub-server.ts';
import type { FakeHub } from './hub-server.ts';
import { cli } from './process.ts';
import { TINY_CONFIG, tinyCheckpoint } from './tiny.ts';
import { readText } from './tokenizers.ts';

const test = suite('hub: fetching');

const { tensors } = tinyCheckpoint();

async function bytesOf(names: readonly string[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const list = names.map((name) => ({
    name,
    dtype: 'F32' as const,
    shape: tensors.info(name).shape,
    data: () => tensors.chunks(name, 2 ** 20),
  }));
  for await (const part of safetensorsBytes('tiny', list)) parts.push(part);
  return Buffer.concat(parts);
}

const TEXTS = {
  'config.json': JSON.stringify({ model_type: 'gpt2', ...TINY_CONFIG }),
  'tokenizer.json': readText('weights/facts/tokenizer.json'),
};
const all = tensors.names();
const WHOLE = { ...TEXTS, 'model.safetensors': await bytesOf(all) };
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
const SHARDED = {
  ...TEXTS,
  'model.safetensors.index.json': JSON.stringify({
    weight_map: Object.fromEntries(all.map((name, i) => [name, SHARDS[i % 2]])),
  }),
  [SHARDS[0]]: await bytesOf(all.filter((_, i) => i % 2 === 0)),
  [SHARDS[1]]: await bytesOf(all.filter((_, i) => i % 2 === 1)),
};
const digest = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

const fetched = (hub: FakeHub): Promise<{ folder: string }> => resolveHubModel('x/y', { env: hub.env });
const downloads = (hub: FakeHub): string[] =>
  hub.requests.filter((line) => line.includes('/resolve/')).map((line) => line.split('/').at(-1)!);
/** A cache in a folder of its own, so that what lands beside it is seen. */
const withCache = (
  files: FakeHub['files'],
  use: (hub: FakeHub, cache: string, root: string) => Promise<unknown>,
) =>
  withFolder(async (root) => {
    const cache = join(root, 'a', 'cache');
    await withHub(cache, async (hub) => {
      hub.files = files;
      await use(hub, cache, root);
    });
  });

test('hashes that have not the form of one never become the name of a file', async () => {
  for (const claim of [
    { oid: '../../../x' },
    { lfs: { oid: '../../../x', size: 3, pointerSize: 1 } },
    { lfs: { oid: 'a'.repeat(63), size: 3, pointerSize: 1 } },
    { oid: 'A'.repeat(40) },
    { size: -1 },
    { size: 2 ** 60, lfs: undefined },
  ])
    await withCache(WHOLE, async (hub, cache, root) => {
      hub.claims['config.json'] = claim;
      const error = await throws(() => fetched(hub), ModelError, 'config.json', 'cannot be used');
      assert.is((error as ModelError).exitCode, 5);
      assert.equal(downloads(hub), []);
      assert.equal(await readdir(root), ['a']);
      assert.equal(await readdir(join(root, 'a')), ['cache']);
      await throws(() => stat(join(cache, 'models--x--y', 'blobs')), Error, 'ENOENT');
    });
  await withCache(WHOLE, async (hub) => {
    hub.commit = (response) =>
      void response.end(JSON.stringify({ _id: '1', id: 'x/y', sha: '../x', lastModified: 0 }));
    await throws(() => fetched(hub), ModelError, 'commit of main', '40 hexadecimal');
  });
});

test('a file that is cut short, longer than promised, other than promised: refused, and never found in the cache', async () => {
  const ways: [string, NonNullable<FakeHub['send']>][] = [
    ['after 5', (_, bytes, response) => Boolean(response.writeHead(200).end(bytes.subarray(0, 5)))],
    [
      'sends more',
      (_, bytes, response) => Boolean(response.writeHead(200).end(Buffer.concat([bytes, bytes]))),
    ],
    ['git blob', (_, bytes, response) => Boolean(response.writeHead(200).end(Buffer.alloc(bytes.length)))],
  ];
  for (const [word, send] of ways)
    await withCache(WHOLE, async (hub) => {
      hub.send = (name, ...rest) => name === 'config.json' && send(name, ...rest);
      const error = await throws(() => fetched(hub), ModelError, 'config.json', word);
      assert.is((error as ModelError).exitCode, 5);
      await throws(() => resolveHubModel('x/y', { env: hub.env, offline: true }), ModelError, '--offline');
      hub.send = undefined;
      await openCheckpoint((await fetched(hub)).folder);
    });
});

test('answers that never end are not read to the end', async () => {
  await withCache(WHOLE, async (hub) => {
    let sent = 0;
    hub.commit = (response) => {
      const more = (): void => {
        sent += 2 ** 20;
        if (!response.destroyed && sent < 2 ** 30) response.write(Buffer.alloc(2 ** 20, 0x20), more);
      };
      more();
    };
    await throws(() => fetched(hub), ModelError, 'more than 16777216 bytes');
    assert.ok(sent < 2 ** 26, `${sent} bytes`);
    hub.commit = undefined;
    let config = 0;
    hub.send = (name, _, response) => {
      if (name !== 'config.json') return false;
      const more = (): void => {
        config += 2 ** 16;
        if (!response.destroyed && config < 2 ** 30) response.write(Buffer.alloc(2 ** 16, 0x20), more);
      };
      more();
      return true;
    };
    await throws(() => fetched(hub), ModelError, 'sends more');
    assert.ok(config < 2 ** 24, `${config} bytes`);
  });
});

test('shards: fetched, opened, hashed as sha256sum prints them; a shard that the hub lacks is named', async () => {
  await withCache(SHARDED, async (hub) => {
    const progress: { bytes: number; total: number }[] = [];
    const { folder } = await resolveHubModel('x/y', { env: hub.env, onProgress: (p) => progress.push(p) });
    const checkpoint = await openCheckpoint(folder);
    assert.equal(checkpoint.tensors.names().sort(), [...all].sort());
    const lines = SHARDS.map((name) => `${digest(SHARDED[name])}  ${name}\n`).join('');
    assert.is(await checkpoint.sha256(), digest(lines));
    const bytes = Object.values(SHARDED).reduce((sum, file) => sum + Buffer.from(file).length, 0);
    assert.equal(progress.at(-1), { file: SHARDS[1], bytes, total: bytes });
    const before = hub.requests.length;
    await resolveHubModel('x/y', { env: hub.env });
    assert.is(hub.requests.length, before + 1, 'which commit main is, and nothing else');
  });
  const { [SHARDS[1]]: _, ...fewer } = SHARDED;
  await withCache(fewer, async (hub) => {
    await throws(() => fetched(hub), ModelError, SHARDS[1], 'index');
  });
});

test('only a pickle: says which pull request has safetensors, or how to convert', async () => {
  await withCache({ ...TEXTS, 'pytorch_model.bin': 'x' }, async (hub) => {
    await throws(() => fetched(hub), ModelError, 'pytorch_model.bin', 'save_pretrained');
    hub.revisions['refs/pr/1'] = { 'README.md': 'x' };
    hub.revisions['refs/pr/7'] = { 'model.safetensors': 'weights' };
    await throws(() => fetched(hub), ModelError, 'pytorch_model.bin', '--revision refs/pr/7');
    assert.equal(downloads(hub), []);
  });
});

test('models fetch: Ctrl-C ends it at once with 130, the next run goes on from there, --revision names another', async () => {
  await withCache(WHOLE, async (hub, cache) => {
    let kill: ((signal: NodeJS.Signals) => void) | undefined;
    const half = Math.floor(WHOLE['model.safetensors'].length / 2);
    hub.send = (name, bytes, response, from) => {
      if (name !== 'model.safetensors' || from > 0) return false;
      response.writeHead(200).write(bytes.subarray(0, half), () => setTimeout(() => kill?.('SIGINT'), 300));
      return true; // and nothing more comes
    };
    const start = performance.now();
    const stopped = await cli(['models', 'fetch', 'x/y'], { env: hub.env, started: (send) => (kill = send) });
    assert.is(stopped.code, 130, stopped.stderr);
    assert.ok(performance.now() - start < 30_000);
    const blobs = join(cache, 'models--x--y', 'blobs');
    const partial = join(blobs, `${digest(WHOLE['model.safetensors'])}.incomplete`);
    assert.is((await stat(partial)).size, half);
    assert.not.ok((await readdir(join(cache, 'models--x--y'))).some((name) => name.includes('lock')));

    hub.requests.length = 0;
    const resumed = await cli(['models', 'fetch', 'x/y', '--revision', 'refs/pr/7', '--json'], {
      env: hub.env,
    });
    assert.is(resumed.code, 0, resumed.stderr);
    assert.equal(downloads(hub), ['model.safetensors']);
    assert.is(JSON.parse(resumed.stdout).model.sha256, digest(WHOLE['model.safetensors']));
    assert.ok(hub.requests.some((line) => line.includes('/revision/refs/pr/7')));
    assert.is(await readFile(join(cache, 'models--x--y/refs/refs/pr/7'), 'utf8'), COMMIT);
  });
});

test('two fetches of one model at once: both end well, every file is fetched once', async () => {
  await withCache(WHOLE, async (hub) => {
    hub.send = (_, bytes, response) => {
      setTimeout(() => response.writeHead(200).end(bytes), 300);
      return true;
    };
    const fetch = ['models', 'fetch', 'x/y', '--quiet'];
    const ended = await Promise.all([1, 2].map(() => cli(fetch, { env: hub.env })));
    for (const { code, stderr } of ended) assert.equal([code, stderr], [0, '']);
    assert.equal(downloads(hub).sort(), Object.keys(WHOLE).sort());
  });
});

test('a model that only an edit file names is not fetched unasked, but with --fetch', async () => {
  await withCache(WHOLE, async (hub, _, root) => {
    const { D, F } = tinyCheckpoint().architecture.dims;
    const { writeSafetensors } = await import('../src/io/atomic.ts');
    const file = join(root, 'edit.safetensors');
    const update = { U: new Float32Array(F).fill(0.1), Lambda: new Float32Array(D), rank: 1, layer: 1 };
    await writeSafetensors(file, recordTensors(update), {
      metadata: {
        schema: 'palimpsest.edit/1',
        model: 'x/y',
        model_sha256: digest(WHOLE['model.safetensors']),
        layer: '1',
        tensor: 'h.1.mlp.c_proj.weight',
        method: 'rome',
        request: JSON.stringify({ prompt: '{} is', subject: 'x', target: 'y', target_ids: [1] }),
      },
    });
    const { env } = hub;
    const predict = ['predict', 'The', '--edits', file];
    const refused = await cli(predict, { env });
    assert.is(refused.code, 5, refused.stderr);
    assert.match(refused.stderr, /only the edit file .* names it.*--fetch/s);
    assert.equal(hub.requests, []);
    const asked = await cli([...predict, '--fetch'], { env });
    assert.is(asked.code, 0, asked.stderr);
    assert.ok(hub.requests.length > 0);
  });
});

test.run();
