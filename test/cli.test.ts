/** The command line as a process: what it prints, what it refuses, and with which exit code. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openSafetensors } from '../src/io/file.ts';
import { folderOf, holdsOnly, withFolder } from './folder.ts';
import { COMMAND, cli as run } from './process.ts';
import type { CliOptions, Ended } from './process.ts';

const test = suite('cli');
const cache = folderOf(test);
const cli = (args: readonly string[], options: CliOptions = {}): Promise<Ended> =>
  run(args, { ...options, env: { PALIMPSEST_CACHE: cache, ...options.env } });

const FACT = ['The mother tongue of [Danielle Darrieux] is', 'English'];
const PROMPT = 'The mother tongue of Danielle Darrieux is';
const EDIT = ['edit', ...FACT, '--covariance', 'identity'];

/** Of the bundled model. */
const [D, F] = [256, 1024];

test('what cannot be read ends with 2, says where, and leaves stdout empty', async () => {
  const cases: [args: string[], ...words: string[]][] = [
    [[], 'expected a command'],
    [['edot'], 'no command "edot"', 'Did you mean edit?'],
    [['edit'], 'nothing to edit was given'],
    [[...EDIT, '--stepz', '3'], '--stepz. Did you mean --steps?'],
    [['evaluate', '-'], 'stdin: expected a JSON array', 'an empty file'],
    [[...EDIT, '--no-freezing'], '--no-freezing'],
    // What would change nothing is not taken for granted.
    [[...EDIT, '--facts', 'f.csv'], 'expected --facts or sentence, found both'],
    [[...EDIT, '--batch', '3'], '--batch: is for many facts; expected --facts FILE'],
    [[...EDIT, '--layers', '1,2'], '--layers: r-rome edits one layer, found 2'],
    [[...EDIT, '--out', '-'], '--out -: expected the name of a file'],
    [[...EDIT, '--steps', '0'], '--steps: expected a whole number from 1 to 100,000, found "0"'],
    [[...EDIT, '--steps', '3', '--steps', '4'], '--steps: expected it once'],
    [[...EDIT, '--clamp', 'NaN'], '--clamp: expected a number above 0'],
    [[...EDIT, '--method', 'memit'], '--method memit: writes many facts at once; expected them in a file.'],
    [
      [...EDIT, '--method', 'mimet'],
      '--method: expected r-rome, rome, p-rome, all, memit, emmet, encore, alphaedit, found "mimet"',
    ],
    [['edit', 'No brackets here', 'x'], 'expected the subject in [brackets]'],
    [['edit', 'Two [a] and [b] of', 'x'], 'found 2 "["', '^'],
    [['edit', '[] is', 'x'], 'expected a name in the brackets'],
    [['edit', 'The [moon] is', ''], 'target: expected', 'an empty one'],
    [['edit', 'The [moon] is', '  made'], 'at most one blank'],
    [['edit', 'The [moon] is'], 'target: expected'],
    [['edit', 'The [moon] is', 'x', '--subject', 'sun'], 'found both'],
    [
      ['edit', '--prompt', 'The moon is', '--subject', 'moon', '--target', 'x'],
      'expected one {}',
      'The {} is',
    ],
    [['edit', '--prompt', '{} of {}', '--subject', 'moon', '--target', 'x'], 'found 2'],
    [['edit', '--prompt', 'The {} is', '--target', 'x'], '--subject is missing'],
    [['edit', '--prompt', 'The {} is', '--subject', 'a{b', '--target', 'x'], 'expected no braces'],
    [['predict'], 'nothing was given for <text..>'],
    [['covariance', 'info'], 'covariance info: expected covariance info <file>', 'given for <file>'],
    [['predict', ''], 'text: expected some text'],
    [['predict', 'x', '--compare'], '--compare: expected --edits with it'],
    [['predict', '--edits', 'a.safetensors', 'text'], 'All words after --edits are its files'],
    [['predict', '--edits', 'a.safetensors', '--', 'text'], 'a.safetensors', 'ENOENT'],
    [['edit', '--json=false', '--', '-3 [moon]', ' '], 'target: expected', 'only blanks'],
    [['predict', 'x', '--edits', '/nonexistent.safetensors'], '/nonexistent.safetensors', 'ENOENT'],
  ];
  // None of them comes as far as an adapter, so they may run together.
  const all = await Promise.all(
    cases.map(async ([args, ...words]) => ({ args, words, ...(await cli(args)) })),
  );
  for (const { args, words, code, stdout, stderr } of all) {
    assert.is(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.is(stdout, '');
    for (const word of words) assert.ok(stderr.includes(word), `"${word}" is not in: ${stderr}`);
  }
});

test('under --json an error is one document on stdout', async () => {
  const { code, stdout } = await cli(['edit', 'No brackets', 'x', '--json']);
  assert.is(code, 2);
  const document = JSON.parse(stdout);
  assert.equal(Object.keys(document), ['schema', 'command', 'error']);
  assert.is(document.schema, 1);
  assert.is(document.command, 'edit');
  assert.is(document.error.code, 'usage');
  assert.match(document.error.message, 'expected the subject in [brackets]');
});

test('files are looked at before anything is computed', async () => {
  await withFolder(async (folder) => {
    const contexts = join(folder, 'contexts.json');
    const wrong: [text: string, ...words: string[]][] = [
      ['["{}", ', 'expected JSON'],
      ['{"a": 1}', 'expected an array of templates'],
      ['["{}", 3]', 'context 1'],
      ['["{}", "no hole"]', 'context 1', 'expected one {}'],
    ];
    for (const [text, ...words] of wrong) {
      await writeFile(contexts, text);
      const { code, stderr } = await cli([...EDIT, '--contexts', contexts]);
      assert.is(code, 2);
      for (const word of [contexts, ...words])
        assert.ok(stderr.includes(word), `"${word}" is not in: ${stderr}`);
    }
    // Even root may not make a file below a file.
    for (const flag of ['--out', '--dump']) {
      const { code, stderr } = await cli([...EDIT, flag, join(contexts, 'sub', 'edit.safetensors')]);
      assert.is(code, 2);
      assert.match(stderr, `${contexts} is a file, not a folder`);
    }
    const { code, stderr } = await cli([...EDIT, '--method', 'all', '--out', join(folder, 'x.safetensors')]);
    assert.is(code, 2);
    assert.match(stderr, 'holds one method');
    await holdsOnly(folder, ['contexts.json']);
  });
});

test('a model that is not there ends with 5', async () => {
  await withFolder(async (folder) => {
    const missing = await cli(['predict', 'x', '--model', join(folder, 'nothing')]);
    assert.is(missing.code, 5);
    assert.match(missing.stderr, 'there is none');
    await mkdir(join(folder, 'empty'));
    const empty = await cli(['predict', 'x', '--model', join(folder, 'empty')]);
    assert.is(empty.code, 5);
    assert.match(empty.stderr, 'config.json is missing');
    const offline = await cli(['predict', 'x', '--model', 'gpt2', '--offline'], {
      env: { HF_HUB_CACHE: folder },
    });
    assert.is(offline.code, 5);
    assert.match(offline.stderr, '--offline forbids the network');
  });
});

test('without an adapter: 4, and doctor still tells what there is', async () => {
  const { code, stdout, stderr } = await cli(['doctor', '--adapter', 'nonesuch']);
  assert.is(code, 4);
  assert.match(stderr, 'no adapter');
  for (const word of ['palimpsest', 'node', 'shaders', 'checksums right', 'caches'])
    assert.match(stdout, word);
  // No driver, and nowhere to unpack one.
  const none = await cli(['doctor'], {
    env: {
      VK_ICD_FILENAMES: '/nonexistent',
      PALIMPSEST_CACHE: '/dev/null/cache',
      PALIMPSEST_ADAPTER: 'auto',
    },
  });
  assert.is(none.code, 4);
  assert.match(none.stdout, /adapter\n +found +none/);
  const { stdout: json } = await cli(['predict', 'x', '--adapter', 'nonesuch', '--json']);
  assert.is(JSON.parse(json).error.code, 'no_adapter');
});

test('edit --json --method all: the whole contract, and the dump beside it', async () => {
  await withFolder(async (folder) => {
    const dump = join(folder, 'dump.safetensors');
    const words = '--method all --json --dump'.split(' ');
    const { code, stdout, stderr } = await cli(['edit', ...FACT, ...words, dump]);
    assert.is(code, 0, stderr);
    const document = JSON.parse(stdout);
    assert.is(stdout.trim().split('\n').length, 1);
    const { schema, command, adapter, model, result, timings_ms: timings } = document;
    assert.is(schema, 1);
    assert.is(command, 'edit');
    assert.ok(
      ['gpu', 'software'].includes(adapter.kind) && adapter.description !== '' && adapter.backend !== '',
    );
    assert.is(model.id, 'facts');
    assert.match(model.sha256, /^[0-9a-f]{64}$/);
    for (const phase of ['load', 'contexts', 'value', 'solve', 'update'])
      assert.type(timings[phase], 'number');

    assert.equal(result.request, {
      prompt: 'The mother tongue of {} is',
      subject: 'Danielle Darrieux',
      target: 'English',
      target_ids: [734],
    });
    assert.is(result.layer, 1);
    assert.is(result.contexts.length, 21);
    assert.is(result.contexts[0], '{}');
    assert.is(result.lookups.length, 21);
    const { optimisation } = result;
    for (const list of ['loss', 'nll', 'kl', 'weight_decay', 'probability'])
      assert.is(optimisation[list].length, optimisation.steps, list);
    assert.ok(optimisation.loss.at(-1) < optimisation.loss[0]);
    assert.ok(
      optimisation.delta_norm > 0 && optimisation.delta_norm <= 4 * optimisation.v_init_norm * (1 + 1e-5),
    );
    assert.equal(Object.keys(result.updates).sort(), ['p-rome', 'r-rome', 'rome']);
    for (const update of Object.values<Record<string, number>>(result.updates)) {
      const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-5 * Math.abs(b);
      assert.ok(near(update.update_norm as number, update.lambda_norm as number), '|u| is 1');
      assert.ok(near((update.normalised_update as number) * D * F, update.update_norm as number));
      assert.ok(Math.abs(update.cosine as number) <= 1 + 1e-6 && (update.relative_update as number) > 0);
      assert.is(update.verdict as unknown, 'ok');
    }
    for (const probe of [
      result.before,
      ...Object.values<{ after: unknown }>(result.updates).map(({ after }) => after),
    ]) {
      const logprobs = probe.next.map(({ logprob }: { logprob: number }) => logprob);
      assert.equal(
        logprobs,
        [...logprobs].sort((a, b) => b - a),
        'best first',
      );
      assert.equal(Object.keys(probe.next[0]), ['id', 'token', 'logprob']);
    }
    assert.is(result.before.next[0].token, ' French');
    assert.is(result.updates['r-rome'].after.next[0].token, ' English');
    assert.is(result.updates['r-rome'].after.target_logprob, result.updates['r-rome'].after.next[0].logprob);
    // With nothing said, the covariance that came with the model.
    assert.match(result.solve.covariance, /^[0-9a-f]{16}$/);
    assert.ok(result.solve.tokens > 2 * F && result.solve.residual <= 1e-6 && result.solve.ridge >= 0);

    const file = await openSafetensors(dump);
    const sizes = Object.fromEntries(file.names().map((name) => [name, file.info(name).shape.join()]));
    const [d, f] = [String(D), String(F)];
    assert.equal(sizes, {
      ...{
        k_prompt: f,
        k_mean: f,
        u: f,
        'u.p-rome': f,
        v_prompt: d,
        v_mean: d,
        grad_0: d,
        delta: d,
        v_star: d,
      },
      ...{ 'lambda.rome': d, 'lambda.p-rome': d, 'lambda.r-rome': d },
    });
    await holdsOnly(folder, ['dump.safetensors']);
  });
});

test('an edit for a person, its file, and the model that it makes', async () => {
  await withFolder(async (folder) => {
    const out = join(folder, 'below', 'edit.safetensors');
    const { code, stdout, stderr } = await cli([...EDIT, '--out', out], { env: { COLUMNS: '80' } });
    assert.is(code, 0, stderr);
    // eslint-disable-next-line no-control-regex
    assert.not.match(stdout, /\u001b/, 'no colour in a pipe');
    for (const word of [
      'The│ mother│ tongue│',
      "^^ the subject's last token (9)",
      'C = I',
      'before, %',
      'verdict',
      'Wrote the edit',
    ])
      assert.ok(stdout.includes(word), `"${word}" is not in: ${stdout}`);
    assert.match(stderr, /^palimpsest: .*model facts.*C = I/m);
    assert.match(stderr, /palimpsest: .*value \d+\.\d+ s.* in all/);

    const { metadata } = await openSafetensors(out);
    const { model_sha256: sha256, contexts, request, ...rest } = metadata;
    assert.match(sha256 ?? '', /^[0-9a-f]{64}$/);
    assert.is(JSON.parse(contexts ?? '').length, 21);
    assert.is(JSON.parse(request ?? '').subject, 'Danielle Darrieux');
    for (const [name, value] of Object.entries({
      schema: 'palimpsest.edit/2',
      layer: '1',
      tensor: 'h.1.mlp.c_proj.weight',
      method: 'r-rome',
      seed: '0',
      covariance: 'identity',
    }))
      assert.is(rest[name], value);
    for (const name of ['options', 'loss', 'versions']) assert.ok(JSON.parse(rest[name] ?? ''), name);

    const base = JSON.parse((await cli(['predict', PROMPT, '--json'])).stdout);
    const edited = JSON.parse((await cli(['predict', PROMPT, '--json', '--edits', out])).stdout);
    assert.is(base.result.next[0].token, ' French');
    assert.is(edited.result.next[0].token, ' English');
    assert.equal(Object.keys(edited.result), ['ids', 'tokens', 'next']);

    // What the edit said it would do is what its file does: the same numbers to the last bit.
    const shown = /^ {2}target +[\d.]+ +([\d.]+)$/m.exec(stdout)?.[1];
    assert.is((100 * Math.exp(edited.result.next[0].logprob)).toFixed(2), shown);

    const other = await cli([...EDIT, '--edits', out, '--layer', '99']);
    assert.is(other.code, 2);
    assert.match(other.stderr, 'layer 99 does not exist; facts has layers 0 to 7');
  });
});

test('what cannot be done soundly ends with 3 and writes nothing', async () => {
  await withFolder(async (folder) => {
    const out = join(folder, 'edit.safetensors');
    // A step this long makes an update many times as large as W.
    const wild = ['--learning-rate', '100', '--clamp', '1000', '--weight-decay', '0', '--steps', '2'];
    const refused = await cli([...EDIT, ...wild, '--on-collapse', 'refuse', '--out', out, '--json']);
    assert.is(refused.code, 3, refused.stderr);
    assert.is(JSON.parse(refused.stdout).error.code, 'disabling');
    await holdsOnly(folder, []);
    const idle = ['--epsilon', '3', '--stop-after', '3'];
    const warned = await cli([...EDIT, ...wild, ...idle, '--out', out, '--allow-miss']);
    assert.match(warned.stderr, '--epsilon changes nothing: it is for --method emmet, and this is r-rome.');
    assert.match(warned.stderr, '--stop-after changes nothing without --stop probable.');
    assert.is(warned.code, 0);
    assert.match(warned.stderr, 'would disable the model');
    const without = await cli(['edit', ...FACT, '--layer', '5']);
    assert.is(without.code, 3);
    assert.match(without.stderr, '--covariance identity');
  });
});

test('generate: seeded, greedy, several prompts', async () => {
  const greedy = await cli(['generate', PROMPT, ...'--tokens 2 --top-k 1 --quiet'.split(' ')]);
  assert.is(greedy.code, 0);
  assert.match(greedy.stdout, /^The mother tongue of Danielle Darrieux is French/);
  const generated = async (...texts: string[]) =>
    JSON.parse((await cli(['generate', ...texts, '--tokens', '5', '--seed', '3', '--json'])).stdout);
  const [two, again] = [await generated('The', 'A'), await generated('The', 'An')];
  assert.equal(two.result.texts[0], again.result.texts[0]);
  assert.is(two.result.texts[1].ids.length <= 5, true);
});

test('whoever stops reading is no error', async () => {
  const { code, stderr } = await cli(['doctor'], { readOnce: true });
  assert.is(code, 0, stderr);
});

test("Dawn's harmless remarks appear with --verbose only, all else on stderr stays", async () => {
  if (process.platform !== 'linux') return; // elsewhere they are not kept back
  const piped = (...args: string[]): Promise<string> =>
    new Promise((resolve) => {
      const words = ['bash', process.execPath, ...COMMAND, ...args];
      execFile('bash', ['-c', '"$@" 2>&1 >/dev/null | cat', ...words], (_, stdout) => resolve(stdout));
    });
  const quiet = await piped('predict', 'The', '--adapter', 'llvmpipe');
  assert.not.match(quiet, 'Warning: maxDynamic');
  assert.match(quiet, 'model facts');
  assert.is(await piped('predict', 'The', '--adapter', 'llvmpipe', '--quiet'), '');
  assert.match(await piped('predict', 'The', '--adapter', 'nonesuch'), 'no adapter');
  const verbose = await piped('predict', 'The', '--verbose', '--adapter', 'llvmpipe');
  if (!verbose.includes('no adapter')) assert.match(verbose, 'Warning: maxDynamic');
});

test('a command loads its own files: an edit takes no part of the lab, --help no engine', async () => {
  await withFolder(async (folder) => {
    const list = join(folder, 'loaded');
    const hook = `import { appendFileSync } from 'node:fs';
      export const load = (url, context, next) => (appendFileSync(${JSON.stringify(list)}, url + '\\n'), next(url, context));`;
    const register = `import { register } from 'node:module'; register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook.replaceAll('\\\\', '\\'))}`)});`;
    const loaded = async (...args: string[]): Promise<string[]> => {
      const options = `--import data:text/javascript,${encodeURIComponent(register)}`;
      const { code, stderr } = await cli(args, { env: { NODE_OPTIONS: options } });
      assert.is(code, 0, stderr);
      const urls = (await readFile(list, 'utf8')).split('\n');
      await rm(list);
      return [...new Set(urls)].filter(
        (url) => /\/(src|cli)\/[^?]*$/.test(url) && !url.includes('node_modules'),
      );
    };
    const help = await loaded('--help');
    assert.not.ok(
      help.some((url) => /\/src\/(gpu|models|tensor|lab)\//.test(url)),
      help.join('\n'),
    );
    const edit = await loaded(...EDIT, '--steps', '2', '--allow-miss');
    assert.ok(edit.length <= 115, `${edit.length} files: ${edit.join('\n')}`);
    assert.not.ok(edit.some((url) => url.includes('/src/lab/')));
  });
});

test('a signal in any phase: 130 and nothing half-written', async () => {
  const phases = [
    ['load', 'SIGHUP'],
    ['sample', 'SIGINT'],
    ['contexts', 'SIGTERM'],
    ['value', 'SIGINT'],
    ['verify', 'SIGHUP'],
    ['write', 'SIGINT'],
  ] as const;
  for (const [phase, signal] of phases) {
    await withFolder(async (folder) => {
      const out = join(folder, 'edit.safetensors');
      const { code, stdout, stderr } = await run(
        [...EDIT, '--json', '--verbose', '--steps', '3', '--seed', '7', '--out', out],
        {
          // A cache of its own, or nothing would be sampled.
          env: { PALIMPSEST_CACHE: phase === 'sample' ? folder : cache },
          interruptAt: `palimpsest: ${phase} ...`,
          signal,
          interrupts: phase === 'value' ? 2 : 1,
        },
      );
      // What takes a millisecond may be over before the signal comes, or Node's handlers even: then it is whole.
      if (phase === 'write' && code !== 130) return holdsOnly(folder, ['edit.safetensors']);
      assert.is(code, 130, `${phase}: ${stderr}`);
      if (stdout !== '') assert.is(JSON.parse(stdout).error.code, 'interrupted');
      assert.not.ok((await openSafetensors(out).catch(() => undefined))?.name, phase);
      if (phase !== 'sample') await holdsOnly(folder, []);
    });
  }
});

test.run();
