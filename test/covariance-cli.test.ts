/** `palimpsest covariance ...` as people and scripts call it. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { withFolder } from './folder.ts';
import { cli } from './process.ts';
import type { Ended } from './process.ts';
import { tinyDocuments } from './tiny.ts';

const test = suite('covariance-cli');

/** Runs one command with a cache of its own. */
function run(cache: string, words: string[], input = '', env: Record<string, string> = {}): Promise<Ended> {
  return cli(['covariance', ...words], { input, env: { PALIMPSEST_CACHE: cache, ...env } });
}

interface Document {
  readonly command: string;
  readonly error?: { readonly code: string; readonly message: string };
  readonly result: {
    readonly files: { file: string; tokens: number; reused: boolean }[];
    readonly file: string;
    readonly tokens: string;
    readonly checksum: string;
  };
}

const json = ({ stdout }: Ended): Document => JSON.parse(stdout) as Document;

test('build, the same again, info, export and import', async () => {
  await withFolder(async (cache) => {
    const text = join(cache, 'text.txt');
    await writeFile(text, `${tinyDocuments(8).join('\n')}\n\n`);
    const words = ['build', '--corpus', text, '--layer', '0', '--tokens', '300', '--json'];
    const first = await run(cache, words);
    assert.is(first.code, 0, first.stderr);
    const [built] = json(first).result.files;
    assert.equal([built!.tokens, built!.reused], [300, false]);
    assert.match(first.stderr, /300 tokens are too few for keys of 1024 numbers/);
    assert.is(json(await run(cache, words)).result.files[0]!.reused, true);

    const info = await run(cache, ['info', built!.file]);
    assert.is(info.code, 0);
    for (const line of [
      /^layer +0$/m,
      /^tokens +300$/m,
      /^corpus +text\.txt$/m,
      /^weights_sha256 +[0-9a-f]{64}$/m,
      /agree with the checksum/,
    ])
      assert.match(info.stdout, line);
    const npz = join(cache, 'layer.npz');
    assert.is((await run(cache, ['export', built!.file, '--out', npz])).code, 0);
    const imported = await run(cache, ['import', npz, '--json']);
    assert.is(imported.code, 0, imported.stderr);
    const again = json(await run(cache, ['info', json(imported).result.file, '--json'])).result;
    assert.is(again.tokens, 300);
  });
});

test('shards from a scheduler, from stdin, merged into the cache', async () => {
  await withFolder(async (cache) => {
    const text = tinyDocuments(6).join('\n');
    const files: string[] = [];
    for (const index of ['0', '1']) {
      const words = ['build', '--corpus', '-', '--layer', '0', '--shard', 'auto/2', '--json'];
      const part = await run(cache, words, text, { JOB_COMPLETION_INDEX: index });
      assert.is(part.code, 0, part.stderr);
      files.push(json(part).result.files[0]!.file);
    }
    assert.match(files[0]!, /layer-0\.part-0-of-2\.[0-9a-f]{16}\.safetensors$/);
    const merged = await run(cache, ['merge', ...files, '--json']);
    assert.is(merged.code, 0, merged.stderr);
    const whole = await run(cache, ['build', '--corpus', '-', '--layer', '0', '--json'], text);
    assert.equal(
      json(whole).result.files[0]!.reused,
      true,
      'the merged file is the one that a build would make',
    );
    assert.is(json(whole).result.files[0]!.file, json(merged).result.file);
    const left = (await readdir(join(cache, 'covariance'))).filter((name) => name.startsWith('stdin'));
    assert.equal(left, []);
  });
});

test('what cannot be used is an error with its exit code, and leaves nothing', async () => {
  await withFolder(async (cache) => {
    const bad = join(cache, 'bad.jsonl');
    await writeFile(bad, '{"text": "fine"}\n{"text": 3}\n');
    const cases: [string[], number, RegExp][] = [
      [[], 2, /expected build, info, merge, import, export/],
      [['build'], 2, /expected --corpus/],
      [['build', '--corpus', join(cache, 'none.txt')], 2, /none\.txt/],
      [['build', '--corpus', bad], 2, /bad\.jsonl: line 2/],
      [['build', '--corpus', bad, '--layer', '8'], 2, /layer 8 does not exist/],
      [['build', '--corpus', bad, '--layers', '1;2'], 2, /--layers: expected numbers/],
      [['build', '--corpus', bad, '--layers', '1', '--layer', '1'], 2, /found both/],
      [['build', '--corpus', bad, '--shard', '2/2'], 2, /expected a shard from 0\/2 to 1\/2/],
      [['build', '--corpus', bad, '--edits', 'x'], 2, /--edits/],
      [['info', bad], 5, /bad\.jsonl/],
      [['import', bad], 2, /bad\.jsonl/],
      [['merge', bad], 5, /bad\.jsonl/],
    ];
    for (const [words, code, message] of cases) {
      const ended = await run(cache, [...words, '--json']);
      assert.is(ended.code, code, `${words.join(' ')}: ${ended.stderr}`);
      assert.match(json(ended).error!.message, message, words.join(' '));
    }
    const kept = (await readdir(cache, { recursive: true })).filter((name) =>
      /\.(safetensors|lock|tmp)$/.test(name),
    );
    assert.equal(kept, []);
  });
});

test.run();
