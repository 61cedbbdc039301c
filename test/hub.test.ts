import { createHash } from 'node:crypto';
import { mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError, UsageError } from '../src/errors.ts';
import { CONTEXTS, cacheFolder, cachedContexts } from '../src/io/cache.ts';
import {
  cacheIds,
  findSnapshot,
  hubCacheFolder,
  hubEndpoint,
  hubToken,
  offlineReason,
} from '../src/io/hub-cache.ts';
import { type HubOptions, resolveHubModel } from '../src/io/hub.ts';
import { findModel } from '../src/io/models.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';
import { COMMIT as A, withHub } from './hub-server.ts';

const test = suite('hub');
const B = 'b'.repeat(40);
const FILES = ['config.json', 'tokenizer.json', 'model.safetensors'];
const GPT2 = 'openai-community/gpt2';
/** A port that was free a moment ago: nothing answers there. */
const NOWHERE = await new Promise<string>((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => resolve(`http://127.0.0.1:${port}`));
  });
});

/** Puts a snapshot into a cache as Python does: blobs, links to them, and a ref. */
async function addSnapshot(
  cache: string,
  folder: string,
  commit: string,
  ref?: string,
  files = FILES,
): Promise<string> {
  const snapshot = join(cache, folder, 'snapshots', commit);
  await mkdir(snapshot, { recursive: true });
  await mkdir(join(cache, folder, 'blobs'), { recursive: true });
  for (const name of files) {
    const blob = createHash('sha256').update(name).digest('hex');
    await writeFile(join(cache, folder, 'blobs', blob), name);
    await symlink(join('..', '..', 'blobs', blob), join(snapshot, name)).catch(() => undefined);
  }
  if (ref) {
    await mkdir(join(cache, folder, 'refs'), { recursive: true });
    await writeFile(join(cache, folder, 'refs', ref), commit);
  }
  return snapshot;
}

function offline(cache: string, more: NodeJS.ProcessEnv = {}): HubOptions {
  return { env: { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: '1', HF_ENDPOINT: NOWHERE, ...more } };
}

test('the cache folder: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, home, in this order', () => {
  const env = {
    HF_HUB_CACHE: '/1',
    HUGGINGFACE_HUB_CACHE: '/2',
    HF_HOME: '/3',
    XDG_CACHE_HOME: '/4',
  } as NodeJS.ProcessEnv;
  const folders = ['/1', '/2', '/3/hub', '/4/huggingface/hub', join(homedir(), '.cache/huggingface/hub')];
  for (const name of [...Object.keys(env), '']) {
    assert.is(hubCacheFolder(env), folders.shift());
    env[name] = ''; // an empty variable counts as unset
  }
  assert.is(hubCacheFolder({ HF_HOME: '~/x' }), join(homedir(), 'x/hub'));
});

test('our own cache folder: PALIMPSEST_CACHE, XDG_CACHE_HOME, home', () => {
  assert.is(cacheFolder({ PALIMPSEST_CACHE: '/1', XDG_CACHE_HOME: '/2' }), '/1');
  assert.is(cacheFolder({ PALIMPSEST_CACHE: '', XDG_CACHE_HOME: '/2' }), '/2/palimpsest');
  assert.is(cacheFolder({}), join(homedir(), '.cache/palimpsest'));
  const { HOME } = process.env;
  try {
    process.env['HOME'] = ''; // the folder that the system knows, never the working folder
    assert.ok(isAbsolute(cacheFolder({})) && isAbsolute(hubCacheFolder({})));
  } finally {
    process.env['HOME'] = HOME;
  }
});

test('contexts of the cache that were changed are sampled again, with a word', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'contexts.json');
    const said: string[] = [];
    const read = (): Promise<string[]> =>
      cachedContexts(
        path,
        CONTEXTS,
        () => Promise.resolve(['{}', 'So it is. {}']),
        (text) => said.push(text),
      );
    const first = await read();
    const kept = await readFile(path, 'utf8');
    assert.equal([await read(), said], [first, []]);
    for (const changed of [kept.replace('So it', 'So he'), kept.slice(0, 20), '['.repeat(100_000)]) {
      await writeFile(path, changed);
      assert.equal(await read(), first);
      assert.match(said.pop() ?? '', 'changed or damaged');
      assert.is(await readFile(path, 'utf8'), kept);
    }
  });
});

test('endpoint, token and offline flags', async () => {
  assert.is(hubEndpoint({}), 'https://huggingface.co');
  assert.is(hubEndpoint({ HF_ENDPOINT: 'http://mirror/x//' }), 'http://mirror/x');
  for (const value of ['1', 'on', 'YES', 'True'])
    assert.is(offlineReason(false, { HF_HUB_OFFLINE: value }), 'HF_HUB_OFFLINE');
  for (const value of ['0', 'off', 'no', '', '2'])
    assert.is(offlineReason(false, { HF_HUB_OFFLINE: value }), undefined);
  assert.is(offlineReason(false, { TRANSFORMERS_OFFLINE: '1' }), 'TRANSFORMERS_OFFLINE');
  assert.is(offlineReason(true, {}), '--offline');
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'token'), 'hf_home\n');
    await writeFile(join(folder, 'other'), 'hf_other\n');
    const env: NodeJS.ProcessEnv = {
      HF_TOKEN: 'hf_env',
      HF_TOKEN_PATH: join(folder, 'other'),
      HF_HOME: folder,
    };
    assert.is(await hubToken(env), 'hf_env');
    assert.is(await hubToken({ ...env, HF_TOKEN: '' }), 'hf_other');
    assert.is(await hubToken({ HF_HOME: folder }), 'hf_home');
    assert.is(await hubToken({ HF_HOME: join(folder, 'none') }), undefined);
  });
});

test('a model is found under either name that Python may have typed', async () => {
  assert.equal(cacheIds('gpt2'), ['gpt2', GPT2]);
  assert.equal(cacheIds(GPT2), [GPT2, 'gpt2']);
  assert.equal(cacheIds('gpt2-xl'), ['gpt2-xl', 'openai-community/gpt2-xl']);
  assert.equal(cacheIds('distilgpt2'), ['distilgpt2', 'distilbert/distilgpt2']);
  assert.equal(cacheIds('someone/gpt2'), ['someone/gpt2']);
  for (const folder of ['models--gpt2', 'models--openai-community--gpt2']) {
    await withFolder(async (cache) => {
      const snapshot = await addSnapshot(cache, folder, A, 'main');
      for (const id of ['gpt2', GPT2])
        assert.is((await resolveHubModel(id, offline(cache))).folder, snapshot);
      const found = await findModel('gpt2', offline(cache));
      assert.is(found.folder, snapshot);
      assert.is(found.entry?.edit_layer, 4);
      assert.is((await findModel(GPT2, offline(cache))).entry?.edit_layer, 4);
    });
  }
});

test('revisions: refs name commits, a commit names itself, a snapshot without a ref is not guessed', async () => {
  await withFolder(async (cache) => {
    await addSnapshot(cache, 'models--x--y', A, 'main');
    const b = await addSnapshot(cache, 'models--x--y', B);
    await mkdir(join(cache, 'models--x--y/refs/pr'), { recursive: true });
    await writeFile(join(cache, 'models--x--y/refs/pr/1'), `${B}\n`);
    assert.is((await resolveHubModel('x/y', offline(cache))).commit, A);
    assert.equal(
      await resolveHubModel('x/y', { ...offline(cache), revision: 'pr/1' }).then(({ folder }) => folder),
      b,
    );
    assert.is((await resolveHubModel('x/y', { ...offline(cache), revision: B })).commit, B);
    // A commit that is cached needs no network even when there is one.
    assert.is(
      (await resolveHubModel('x/y', { revision: B, env: { HF_HUB_CACHE: cache, HF_ENDPOINT: NOWHERE } }))
        .commit,
      B,
    );
    await throws(
      () => resolveHubModel('x/y', { ...offline(cache), revision: 'v1' }),
      ModelError,
      'x/y (v1)',
      'not there',
    );
  });
});

test('offline and not cached: says so, names the cache and the flag; exit code 5', async () => {
  await withFolder(async (cache) => {
    const error = await throws(
      () => resolveHubModel(GPT2, offline(cache)),
      ModelError,
      GPT2,
      cache,
      'not there',
      'HF_HUB_OFFLINE',
      '--model',
    );
    assert.is((error as ModelError).exitCode, 5);
    assert.is((error as ModelError).code, 'offline');
    const env = { HF_HUB_CACHE: cache, HF_ENDPOINT: NOWHERE };
    await throws(() => resolveHubModel(GPT2, { env, offline: true }), ModelError, GPT2, '--offline');
    await addSnapshot(cache, 'models--gpt2', A, 'main', ['config.json']);
    await throws(
      () => resolveHubModel(GPT2, offline(cache)),
      ModelError,
      'lacks tokenizer.json, model.safetensors',
    );
    const complete = await addSnapshot(cache, 'models--openai-community--gpt2', B, 'main');
    assert.is((await resolveHubModel('gpt2', offline(cache))).folder, complete); // a complete one goes before a partial one
    assert.is((await findSnapshot(cache, ['gpt2'], 'main'))?.missing.length, 2);
  });
});

test('online and no answer: names the network; a cached snapshot is used, with a notice', async () => {
  await withFolder(async (cache) => {
    const notices: string[] = [];
    const options = {
      env: { HF_HUB_CACHE: cache, HF_ENDPOINT: NOWHERE },
      onNotice: (text: string) => notices.push(text),
    };
    const error = await throws(
      () => resolveHubModel('x/y', options),
      ModelError,
      'x/y',
      NOWHERE,
      'ECONNREFUSED',
      'network',
      cache,
      '--model',
    );
    assert.is((error as ModelError).exitCode, 5);
    assert.is((error as ModelError).code, 'network');
    assert.equal(notices, []);
    const snapshot = await addSnapshot(cache, 'models--x--y', A, 'main');
    assert.is((await resolveHubModel('x/y', options)).folder, snapshot);
    assert.is(notices.length, 1);
    assert.match(notices[0]!, NOWHERE);
  });
});

test('ids and revisions that are none', async () => {
  for (const id of ['', '/', 'a/b/c', '../x', 'a/..', '/abs', 'a b', 'x--y', '-x', 'a/', 'a\\b']) {
    await throws(() => resolveHubModel(id, { offline: true }), UsageError, `"${id}"`, 'hub id');
  }
  for (const revision of ['', '../main', 'a/../b', '/x', 'a b']) {
    await throws(
      () => resolveHubModel('x/y', { offline: true, revision }),
      UsageError,
      `"${revision}"`,
      'branch',
    );
  }
});

test('downloads into the layout that Python reads, then needs the network no more', async () => {
  await withFolder(async (cache) => {
    await withHub(cache, async (hub) => {
      const progress: { bytes: number; total: number }[] = [];
      const env = { ...hub.env, HF_TOKEN: 'hf_secret' };
      const model = await resolveHubModel('x/y', { env, onProgress: (p) => progress.push(p) });
      assert.is(model.folder, join(cache, 'models--x--y', 'snapshots', A));
      assert.is(model.commit, A);
      await holdsOnly(model.folder, Object.keys(hub.files)); // the optional file is not on this hub
      assert.is(await readFile(join(model.folder, 'model.safetensors'), 'utf8'), 'weights');
      const oid = createHash('sha256').update('weights').digest('hex');
      assert.is(await readlink(join(model.folder, 'model.safetensors')), join('..', '..', 'blobs', oid));
      assert.is(await readFile(join(cache, 'models--x--y/refs/main'), 'utf8'), A);
      assert.ok(
        hub.requests.every((line) => line.endsWith('Bearer hf_secret')),
        hub.requests.join('\n'),
      );
      assert.is(progress.at(-1)?.total, Object.values(hub.files).join('').length);
      assert.ok(progress.at(-1)!.bytes >= progress.at(-1)!.total);

      const before = hub.requests.length;
      assert.equal(
        await resolveHubModel('x/y', { env: { ...hub.env, HF_HUB_OFFLINE: '1' } }).then((m) => m.folder),
        model.folder,
      );
      assert.is(hub.requests.length, before);
      await resolveHubModel('x/y', { env: hub.env }); // online: one question, which commit main is
      assert.is(hub.requests.length, before + 1);
    });
  });
});

test('a download that is damaged is refused and removed', async () => {
  await withFolder(async (cache) => {
    await withHub(cache, async (hub) => {
      hub.oid = '0'.repeat(64);
      const actual = createHash('sha256').update('weights').digest('hex');
      await throws(
        () => resolveHubModel('x/y', { env: hub.env }),
        ModelError,
        'model.safetensors',
        hub.oid,
        actual,
      );
      await throws(() => readFile(join(cache, 'models--x--y/blobs', hub.oid!)), Error, 'ENOENT');
      await throws(() => resolveHubModel('x/y', { env: hub.env, offline: true }), ModelError, '--offline');
    });
  });
});

test('a model without safetensors, one that is refused, and a hub out of order', async () => {
  await withFolder(async (cache) => {
    await withHub(cache, async (hub) => {
      const { 'model.safetensors': _, ...rest } = hub.files;
      hub.files = { ...rest, 'pytorch_model.bin': 'x' };
      await throws(
        () => resolveHubModel('x/y', { env: hub.env }),
        ModelError,
        'x/y',
        'no model.safetensors',
        'save_pretrained',
      );
      hub.status = 401;
      await throws(
        () => resolveHubModel('x/y', { env: hub.env }),
        ModelError,
        'x/y (main)',
        '401',
        'HF_TOKEN',
      );
      hub.status = 503;
      await throws(() => resolveHubModel('x/y', { env: hub.env }), ModelError, 'status 503', 'network');
      const snapshot = await addSnapshot(cache, 'models--x--y', A, 'main');
      assert.is((await resolveHubModel('x/y', { env: hub.env })).folder, snapshot);
    });
  });
});

test('a cache that cannot be written to is named', async () => {
  await withFolder(async (folder) => {
    const cache = join(folder, 'file');
    await writeFile(cache, '');
    await withHub(cache, async (hub) => {
      await throws(
        () => resolveHubModel('x/y', { env: hub.env }),
        ModelError,
        cache,
        'cannot be written',
        'HF_HUB_CACHE',
      );
    });
  });
});

test.run();
