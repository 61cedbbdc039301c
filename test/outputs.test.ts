/** The door that every file of a command goes through: nothing is destroyed, and what is written is whole. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { link, mkdir, readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { covarianceContent, readMatrices } from '../src/formats/covariance-file.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import { folderOf, withFolder } from './folder.ts';
import { golden } from './model.ts';
import { COMMAND, cli, unsealed } from './process.ts';
import type { Ended } from './process.ts';

const test = suite('outputs');
const cache = folderOf(test);
const COUNTERFACT = golden('data/counterfact.json');
/** Processes at a time. */
const AT_ONCE = 5;
const QUICK = ['--covariance', 'identity', '--steps', '1', '--quiet'];
const FACT = 'The mother tongue of [Danielle Darrieux] is';
const E = ['edit', FACT, 'English', ...QUICK, '--allow-miss'];

const WILD = [...E.map((word) => (word === '1' ? '3' : word)), '--learning-rate', '1e38', '--clamp', '1e30'];

let edited: Promise<Buffer> | undefined;
/** An edit file of the bundled model, with the bare prompt for its only context. */
function theEdit(): Promise<Buffer> {
  return (edited ??= (async () => {
    const [file, contexts] = [join(cache, 'edit.st'), join(cache, 'contexts.json')];
    await writeFile(contexts, '["{}"]');
    const { code, stderr } = await cli([...E, '--contexts', contexts, '--out', file]);
    assert.is(code, 0, stderr);
    return readFile(file);
  })());
}

/** A line of a shell, in which `$P` is the command line. */
function shell(line: string, folder: string): Promise<Ended> {
  const env = { ...process.env, P: [process.execPath, ...COMMAND].join(' ') };
  return new Promise((resolve) => {
    execFile('bash', ['-c', line], { cwd: folder, env, timeout: 120_000 }, (error, stdout, stderr) =>
      resolve({
        code: typeof error?.code === 'number' ? error.code : error ? null : 0,
        ...{ signal: error?.signal ?? null, stdout, stderr },
      }),
    );
  });
}

/** Runs commands a few at a time. */
async function several(lines: readonly (readonly string[])[], env = {}): Promise<Ended[]> {
  const ended: Ended[] = [];
  for (let i = 0; i < lines.length; i += AT_ONCE)
    ended.push(...(await Promise.all(lines.slice(i, i + AT_ONCE).map((args) => cli(args, { env })))));
  return ended;
}

/** Contents by name, of all files in a folder and below. */
async function contents(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of (await readdir(folder, { recursive: true })).sort())
    if ((await stat(join(folder, name))).isFile())
      found.set(name, (await readFile(join(folder, name))).toString('latin1'));
  return found;
}

test('an output that is an input, another output, or a file of someone else is refused before the work', async () => {
  await withFolder(async (folder) => {
    const at = (...names: string[]): string => join(folder, ...names);
    await writeFile(at('a.st'), await theEdit());
    await writeFile(at('contexts.json'), '["{}"]');
    await writeFile(at('notes.txt'), 'Years of work.\n');
    await writeFile(at('corpus.txt'), 'One document.\nAnother one.\n');
    await link(at('contexts.json'), at('hard.json'));
    await symlink('contexts.json', at('soft.json'));
    await mkdir(at('model'));
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors'])
      await symlink(join(golden('../../weights/facts'), name), at('model', name));
    await mkdir(at('theirs'));
    await writeFile(at('theirs', 'run.jsonl'), '{"loss": 3}\n');
    await mkdir(at('pages'));
    await writeFile(at('pages', 'report.html'), '<html>A report of mine.</html>');
    await writeFile(at('b.json'), await readFile(at('a.st')));
    const sha256 = createHash('sha256')
      .update(await theEdit())
      .digest('hex');
    const listed = { model: { id: 'facts', sha256 }, edits: [{ file: 'a.st', sha256 }] };
    await writeFile(at('list.json'), JSON.stringify({ schema: 'palimpsest.edits/1', ...listed }));
    const before = await contents(folder);

    const contexts = ['--contexts', at('contexts.json')];
    const cases: [args: string[], ...words: string[]][] = [
      [[...E, ...contexts, '--out', at('contexts.json')], '--out', '--contexts', 'they are one'],
      [[...E, ...contexts, '--out', at('hard.json'), '--overwrite'], 'they are one'],
      [[...E, ...contexts, '--out', at('soft.json'), '--overwrite'], 'they are one'],
      [[...E, '--edits', at('a.st'), '--out', at('.', 'a.st')], '--out', '--edits', 'they are one'],
      [
        [...E, '--covariance', at('b.json'), '--out', at('b.json'), '--overwrite'],
        '--covariance',
        'they are one',
      ],
      [[...E, '--out', at('x.st'), '--dump', at('model', '..', 'x.st')], '--dump', 'it is the same one'],
      [[...E, '--out', at('x.st'), '--trace-file', at('x.st')], '--trace-file', 'it is the same one'],
      [[...E, '--out', at('notes.txt')], 'there is another file', '--overwrite'],
      [[...E, '--out', at('model')], 'it is a folder'],
      [[...E, '--dump', at('a.st')], 'there is another file'],
      [['predict', 'x', '--trace-file', at('notes.txt')], '--trace-file', 'there is another file'],
      [['predict', 'x', '--trace-file', at('notes.txt', 'x')], 'is a file, not a folder'],
      [
        ['covariance', 'build', '--restart', '--corpus', at('corpus.txt'), '--out', at('corpus.txt')],
        'they are one',
      ],
      [['covariance', 'merge', at('a.st'), at('b.json'), '--out', at('a.st')], 'they are one'],
      [['covariance', 'import', at('notes.txt'), '--out', at('notes.txt')], 'they are one'],
      [['covariance', 'export', at('notes.txt'), '--out', at('notes.txt')], 'they are one'],
      [['export', at('model'), '--model', at('model'), '--edits', at('a.st')], 'a folder with files'],
      [['apply', at('a.st'), '--list', at('a.st')], 'they are one'],
      [['merge', at('list.json'), '--out', at('a.st')], 'they are one'],
      [['apply', at('a.st'), '--list', at('b.json'), '--no-check'], 'there is another file'],
      [['apply', at('a.st'), '--list', at('mylist'), '--no-check'], 'a name that ends in .json'],
      [['sequence', COUNTERFACT, '--out', at('theirs')], 'run.jsonl', 'there is another file'],
      [['sequence', COUNTERFACT, '--out', at('notes.txt')], 'expected a folder'],
      [['sequence', COUNTERFACT, '--out', at('pages')], 'report.html', 'there is another file'],
      [['trace', 'The [moon] is', '--out', at('notes.txt')], 'expected a folder'],
      [['trace', 'The [moon] is', '--out', at('pages')], 'report.html', 'there is another file'],
      [['paper', '--out', at('notes.txt')], 'expected a folder'],
      [['paper', '--out', at('pages')], 'report.html', 'there is another file'],
      [['predict', 'x', '--edits', at('a.st'), at('a.st')], 'each edit once'],
      [[...E, '--no-out'], '--no-out is no flag'],
      [['predict', 'x', '--no-model'], '--no-model is no flag'],
      [['edit', 'The [moon] is', 'x', '--steps', '1e8'], '--steps', 'to 100,000'],
    ];
    const ended = await several(cases.map(([args]) => args));
    ended.forEach(({ code, stdout, stderr }, i) => {
      const [args, ...words] = cases[i]!;
      assert.is(code, 2, `${args.join(' ')}: ${stdout}${stderr}`);
      for (const word of words) assert.ok(stderr.includes(word), `"${word}" is not in: ${stderr}`);
    });
    // Only the model's folder says which files it consists of.
    const into = ['--model', at('model'), '--out', at('model', 'model.safetensors')];
    const inside = await cli([...E, ...into, '--overwrite', '--layer', '1']);
    assert.is(inside.code, 2);
    assert.match(inside.stderr, /--out .*they are one/);
    assert.equal(await contents(folder), before);

    // Of its own kind, and with --overwrite, a file is replaced.
    const again = await Promise.all([
      cli([...E, ...contexts, '--out', at('a.st')]),
      cli([...E, ...contexts, '--out', at('notes.txt'), '--overwrite']),
    ]);
    for (const { code, stderr } of again) assert.is(code, 0, stderr);
    assert.match(await readFile(at('notes.txt'), 'latin1'), 'palimpsest.edit/');
  });
});

test('links are followed, FIFOs and devices written into, and a reader that is gone stops nothing', async () => {
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'contexts.json'), '["{}"]');
    const words = [...E.slice(0, 3).map((word) => `'${word}'`), ...E.slice(3), '--contexts contexts.json'];
    const edit = ['$P', ...words].join(' ');
    await symlink('below/target.st', join(folder, 'link.st'));
    const lines = [
      `mkfifo pipe; (cat pipe > from-pipe.st) & ${edit} --out pipe --dump link.st | head -1; wait; test -p pipe && exit \${PIPESTATUS[0]}`,
      `${edit} --out >(cat > from-shell.st) --trace-file /dev/null 2> >(exec 0<&-; sleep 9); sleep 1; test -c /dev/null`,
      `${edit} --out head.st | head -1; exit \${PIPESTATUS[0]}`,
      `${edit} --out full.st --trace-file times.tsv --json > /dev/full`,
    ];
    // One after another but two at a time: each loads a model.
    const ended: Ended[] = [];
    for (let i = 0; i < lines.length; i += 2)
      ended.push(...(await Promise.all(lines.slice(i, i + 2).map((line) => shell(line, folder)))));
    ended.forEach(({ code, stderr }, i) => assert.is(code, i === 3 ? 2 : 0, `${lines[i]}: ${stderr}`));
    assert.match(ended[3]!.stderr, /stdout: expected room.*ENOSPC/);
    assert.not.match(ended[3]!.stderr, /at .*\.ts:/);
    assert.match(await readFile(join(folder, 'below', 'target.st'), 'latin1'), 'palimpsest.dump/1');
    const want = await theEdit();
    for (const name of ['from-pipe', 'from-shell', 'head', 'full'])
      assert.equal(await readFile(join(folder, `${name}.st`)), want, name);
    assert.match(await readFile(join(folder, 'times.tsv'), 'utf8'), /^kernel\tshape/);
    assert.not.ok((await readdir(folder)).some((name) => name.endsWith('.tmp')));
  });
});

test('lists: two at once lose nothing, and what no list can hold is refused', async () => {
  await withFolder(async (folder) => {
    const at = (name: string): string => join(folder, name);
    const targets = ['English', 'Germans', 'Hollish'];
    const edits = targets.map((target) => at(`${target}.st`));
    const bytes = unsealed(await theEdit());
    for (const [i, file] of edits.entries())
      await writeFile(file, bytes.replaceAll('English', targets[i]!), 'latin1');
    const applied = await Promise.all(
      edits.map((file) => cli(['apply', file, '--list', at('l.json'), '--no-check'])),
    );
    for (const { code, stderr } of applied) assert.is(code, 0, stderr);
    const { edits: listed } = JSON.parse(await readFile(at('l.json'), 'utf8')) as {
      edits: { file: string }[];
    };
    assert.equal(listed.map(({ file }) => file).sort(), targets.map((target) => `${target}.st`).sort());
    assert.not.ok((await readdir(folder)).includes('l.json.lock'));

    // An edit whose prompt has no place for its subject.
    await writeFile(at('bad.st'), bytes.replace('mother tongue of {}', 'mother tongue of ()'), 'latin1');
    // A folder or a link that leads nowhere in the place of the lock.
    await mkdir(at('m.json.lock'));
    await symlink('nowhere', at('n.json.lock'));
    const cases: [args: string[], word: string][] = [
      [['apply', at('bad.st'), '--list', at('bad.json'), '--no-check'], 'a prompt with one {}'],
      [['apply', edits[0]!, '--list', at('m.json'), '--no-check'], 'there is a folder'],
      [['apply', edits[0]!, '--list', at('n.json'), '--no-check'], 'there is no file'],
    ];
    const refused = await Promise.all(cases.map(([args]) => cli(args)));
    refused.forEach(({ code, stderr }, i) => {
      assert.is(code, 2, stderr);
      assert.ok(stderr.includes(cases[i]![1]), stderr);
    });
    for (const name of ['bad.json', 'm.json', 'n.json'])
      assert.not.ok((await readdir(folder)).includes(name));
  });
});

test('the line: switches, its errors under --json, and what a refused command prints', async () => {
  const lines: Record<string, string[]> = {
    maybe: ['doctor', '--json=maybe'],
    isTrue: ['edit', '--json=true'],
    named: ['predict', '--model', 'edit', '--json', '--', ''],
    generated: ['generate', 'x', '--tokens', '5000', '--quiet'],
    wild: [...WILD, '--on-collapse', 'refuse'],
    loud: ['trace', FACT, '--noise', '1e38', '--quiet'],
    contexts: ['edit', FACT, 'English', ...QUICK, '--contexts', join(cache, 'many.json')],
    tokens: ['covariance', 'build', '--corpus', COUNTERFACT, '--tokens', '1e15'],
    info: ['covariance', 'info', join(cache, 'named.safetensors'), '--json'],
    plain: ['models', 'list', '--no-color'],
  };
  const own = await openCovariance(golden('../../weights/facts/covariance-layer-1.safetensors'));
  const { metadata, tensors } = await covarianceContent(own.facts, await readMatrices(own));
  const claims = { ...metadata, file: 'elsewhere', bytes: '1' };
  await writeSafetensors(join(cache, 'named.safetensors'), tensors, { metadata: claims });
  await writeFile(
    join(cache, 'many.json'),
    JSON.stringify(Array.from({ length: 3000 }, (_, i) => `In short (${i}). {}`)),
  );
  const ended = await several(Object.values(lines), { FORCE_COLOR: '1' });
  const of = (name: string): Ended => ended[Object.keys(lines).indexOf(name)]!;
  const cases: [name: string, code: number, words: string][] = [
    ['maybe', 2, '--json: expected no value, true or false, found "maybe"'],
    ['generated', 2, 'context window'],
    ['wild', 3, 'finite numbers'],
    ['loud', 2, '--noise'],
    ['contexts', 2, 'found 3001'],
    ['tokens', 2, '--tokens: expected a whole number from 1 to'],
  ];
  for (const [name, code, words] of cases) {
    assert.is(of(name).code, code, `${name}: ${of(name).stderr}`);
    assert.ok(of(name).stderr.includes(words), of(name).stderr);
    if (name === 'generated') assert.is(of(name).stdout, '', name);
  }
  assert.is(JSON.parse(of('isTrue').stdout).error.code, 'usage');
  assert.is(JSON.parse(of('named').stdout).command, 'predict');
  const { file, bytes } = JSON.parse(of('info').stdout).result;
  assert.equal([file, typeof bytes], [join(cache, 'named.safetensors'), 'number']);
  assert.not.match(of('plain').stdout, '\u001b');
});

test.run();
