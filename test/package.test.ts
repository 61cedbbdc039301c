/**
 * The package as its users meet it: a clean clone is built and packed, the tarball is installed in an empty folder, and
 * the README's programs, their types and the command are tried there, on every version of Node that we name.
 */
import { build } from 'esbuild';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { folderOf } from './folder.ts';
import { fenced } from './readme.ts';

const NODES = ['20', '22', '24'];
const QUICK = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];

const root = fileURLToPath(new URL('..', import.meta.url));
const test = suite('package');
const base = folderOf(test);
const clone = join(base, 'clone');
const user = join(base, 'user');

/** Runs a program to its end and gives its stdout; what it said is part of the error when it fails. */
async function run(cwd: string, file: string, ...args: string[]): Promise<string> {
  const shell = process.platform === 'win32';
  const { stdout } = await promisify(execFile)(file, args, { cwd, shell, maxBuffer: 2 ** 26 }).catch(
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`${file} ${args.join(' ')} failed in ${cwd}\n${error.stdout}\n${error.stderr}`);
    },
  );
  return stdout;
}

test.before(async () => {
  await run(base, 'git', 'clone', '--quiet', root, clone);
  await run(clone, 'npm', 'ci', ...QUICK);
  const packed = await run(clone, 'npm', 'pack', '--loglevel=error', '--pack-destination', base);
  const tarball = join(base, packed.trim().split('\n').at(-1) ?? '');
  await run(base, 'mkdir', user);
  writeFileSync(join(user, 'package.json'), '{ "type": "module", "private": true }\n');
  // typescript is all that a user needs for types, @sparticuz/chromium what a machine without a GPU driver needs.
  await run(user, 'npm', 'install', ...QUICK, tarball, 'typescript', '@sparticuz/chromium');
  const programs = fenced('ts').filter((text) => text.includes("from 'palimpsest'"));
  assert.is(programs.length, 2, 'the README shows an edit and a shader');
  for (const [i, program] of programs.entries())
    for (const end of ['ts', 'js']) writeFileSync(join(user, `program-${i}.${end}`), program);
  const page = "import { openGpu } from 'palimpsest/browser';\nexport * from 'palimpsest';\n";
  writeFileSync(join(user, 'page.ts'), `${page}await openGpu(navigator.gpu, { shader: (name) => name });\n`);
});

test('the tarball holds what runs and nothing of ours alone', () => {
  const names = readdirSync(join(user, 'node_modules/palimpsest')).sort();
  const wanted = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'data',
    'dist',
    'package.json',
    'shaders',
    'weights',
  ];
  assert.equal(names, wanted);
});

test('types: tsc --strict takes the programs, with every declaration file checked', async () => {
  const words = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--skipLibCheck', 'false'];
  await run(
    user,
    'npx',
    'tsc',
    ...words,
    '--module',
    'nodenext',
    '--target',
    'es2023',
    ...['program-0.ts', 'program-1.ts'],
    'page.ts',
  );
  writeFileSync(join(user, 'wrong.ts'), "import { predict } from 'palimpsest';\npredict(1);\n");
  let refused = false;
  await run(user, 'npx', 'tsc', ...words, '--module', 'nodenext', '--target', 'es2023', 'wrong.ts').catch(
    () => (refused = true),
  );
  assert.ok(refused, 'the types say something');
});

test('the command predicts', async () => {
  const text = 'The mother tongue of Danielle Darrieux is';
  const { result } = JSON.parse(await run(user, 'npx', 'palimpsest', 'predict', text, '--json')) as {
    result: { next: { token: string }[] };
  };
  assert.is(result.next[0]?.token, ' French');
});

test('the page comes with it: for any host of static files', async () => {
  await run(user, 'npx', 'palimpsest', 'page', '--out', 'site');
  const files = readdirSync(join(user, 'site'), { recursive: true, encoding: 'utf8' });
  for (const name of ['index.html', 'recorded.json', join('weights', 'facts', 'model.safetensors')])
    assert.ok(files.includes(name), name);
  assert.ok(files.some((name) => /worker.*\.js$/.test(name)));
});

for (const version of NODES) {
  test(`the programs of the README run on Node ${version}`, async () => {
    const here = process.versions.node.startsWith(`${version}.`);
    const words = here ? [] : ['--yes', ...QUICK, '--package', `node@${version}`, 'node'];
    const node = (name: string) => run(user, here ? process.execPath : 'npx', ...words, name);
    assert.match(await node('program-0.js'), /' English'/);
    assert.match(await node('program-1.js'), /9, 1, 16, 1[^]*0\.84[^]*13, 4, 16, 5/);
  });
}

test('the engine is what a browser can load: no module of Node, and nothing left to resolve', async () => {
  const { metafile, warnings } = await build({
    entryPoints: [join(user, 'page.ts')],
    absWorkingDir: user,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    metafile: true,
    write: false,
    logLevel: 'silent',
  });
  assert.equal(warnings, []);
  const modules = Object.entries(metafile.inputs);
  assert.ok(modules.length > 30, `only ${modules.length} modules`);
  for (const [path, { imports }] of modules) {
    for (const { path: to, external } of imports)
      assert.not.ok(external === true || isBuiltin(to), `${path} imports ${to}`);
    const nodes = /(?<![.\w])(process|Buffer|__dirname|require)\s*[.([]/;
    // A dependency may have methods of such names.
    if (path.includes('node_modules/palimpsest/'))
      assert.not.match(readFileSync(join(user, path), 'utf8'), nodes, path);
  }
});

test.run();
