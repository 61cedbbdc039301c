/** What keeps the house small: how many files a room has, how long they are, and that nothing stands twice. */
import { readFileSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from '@babel/parser';

const test = suite('house');
const root = fileURLToPath(new URL('..', import.meta.url));
const list = (folder: string, end: string): string[] =>
  readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(end))
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .sort();
const lines = (path: string): string[] =>
  readFileSync(root + path, 'utf8')
    .trimEnd()
    .split('\n');

const src = list('src', '.ts');
const cli = list('cli', '.ts');

/** At least so many lines, or it is a part of another file. */
const SHORTEST = 25;
/** As many equal lines are one thing written twice. */
const STRETCH = 10;

test('a file is no fragment, unless it holds types or is a door', () => {
  const short = [...src, ...cli].filter((path) => lines(path).length < SHORTEST && runs(path));
  assert.equal(short, []);
});

/** Whether a file holds more than types and names of other files. */
function runs(path: string): boolean {
  const { program } = parse(lines(path).join('\n'), { sourceType: 'module', plugins: ['typescript'] });
  return program.body.some((node) => {
    const inner = node.type === 'ExportNamedDeclaration' && node.declaration ? node.declaration : node;
    return /^(Function|Class|Variable)Declaration$|^ExpressionStatement$/.test(inner.type);
  });
}

test('in src no two files have one name, unless one is the bench of the other', () => {
  const byName = new Map<string, string[]>();
  for (const path of src.filter((name) => !name.startsWith('src/lab/bench/')))
    byName.set(basename(path), [...(byName.get(basename(path)) ?? []), path]);
  assert.equal(
    [...byName.values()].filter((paths) => paths.length > 1),
    [],
  );
});

test('no ten lines stand twice outside the shaders', () => {
  const seen = new Map<string, string>();
  const twice: string[] = [];
  for (const path of [...src, ...cli, ...list('bench', '.ts')]) {
    const all = lines(path).map((line) => line.trim());
    for (let at = 0; at + STRETCH <= all.length; at += 1) {
      const stretch = all.slice(at, at + STRETCH);
      if (stretch.every((line) => /^(import|\*|\/\/|$)/.test(line))) continue;
      const key = stretch.join('\n');
      const before = seen.get(key);
      if (before) twice.push(`${path}:${at + 1} and ${before}`);
      else seen.set(key, `${path}:${at + 1}`);
    }
  }
  assert.equal(twice, []);
});

/** Where files are written: through the door for outputs, or into the project's own caches and runs. */
const WRITERS = [
  'atomic',
  'run',
  'lock',
  'corpus-files',
  'covariance-files',
  'download',
  'export',
  'page-files',
  'swiftshader',
];

test('files are written through one door', () => {
  const writing = /\b(writeFile|appendFile|createWriteStream|copyFile|cp|rename|truncate)(Sync)?\(/;
  const found = [...src, ...cli].filter(
    (path) => !WRITERS.includes(basename(path, '.ts')) && lines(path).some((line) => writing.test(line)),
  );
  assert.equal(found, []);
});

test('rooms have as many files as a reader can know', () => {
  const lab = src.filter((path) => path.startsWith('src/lab/'));
  assert.ok(lab.length <= 40, `src/lab has ${lab.length} files`);
  assert.ok(cli.length <= 32, `cli has ${cli.length} files`);
});

test.run();
