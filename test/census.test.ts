/** Every shader is a page of maths with a test and a caller, and every room imports only what it may. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { reflect } from '../src/gpu/kernel.ts';

const test = suite('census');
const root = fileURLToPath(new URL('..', import.meta.url));
const list = (folder: string, end: string): string[] =>
  readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(end))
    .map((name) => `${folder}/${name}`)
    .sort();
const text = (path: string): string => readFileSync(root + path, 'utf8');

const shaders = list('shaders', '.wgsl');
const sources = [...list('src', '.ts'), ...list('cli', '.ts')];

for (const path of shaders) {
  const name = path.slice('shaders/'.length, -'.wgsl'.length);

  test(`${path}: header in the fixed order, at most 100 columns`, () => {
    const code = text(path);
    const header = code.slice(0, code.search(/^[^/\s]/m)).split('\n');
    assert.match(header[0] ?? '', /^\/\/ \S.*\.$|^\/\/ \S/, 'a title sentence');
    const order = ['Shapes', 'Work', 'Cost', 'Numerics', 'Source', 'Test'];
    const found = header
      .flatMap((line) => /^\/\/ (\w+) +\S/.exec(line)?.[1] ?? [])
      .filter((word) => order.includes(word));
    for (const word of ['Shapes', 'Work', 'Cost', 'Test']) assert.ok(found.includes(word), `no ${word} line`);
    assert.ok(
      found.indexOf('Shapes') < found.indexOf('Work') && found.indexOf('Work') < found.indexOf('Cost'),
      found.join(', '),
    );
    assert.is(found.at(-1), 'Test');
    const wide = code.split('\n').findIndex((line) => [...line].length > 100);
    assert.is(wide, -1, `line ${wide + 1} is wider than 100 columns`);
  });

  test(`${path}: reflects, and its test exists and its kernel has a caller`, () => {
    const { bindings, params } = reflect(name, text(path));
    assert.ok(bindings.length > 0);
    assert.is(new Set(bindings.map((b) => b.index)).size, bindings.length, 'two bindings share an index');
    if (params.length > 0) assert.ok(bindings.some((b) => b.kind === 'uniform' && b.name === 'params'));
    const tests = [...text(path).matchAll(/test\/[\w-]+\.test\.ts/g)].map(([file]) => file);
    assert.ok(tests.length > 0, 'no test is named');
    for (const file of tests) assert.ok(existsSync(root + file), `${file} does not exist`);
    const quoted = new RegExp(`['"\`](${name}|${name.replace(/_\d+$/, '_')}\\$)`);
    assert.ok(
      [...sources, ...list('test', '.ts'), ...list('bench', '.ts')].some((source) =>
        quoted.test(text(source)),
      ),
      'nothing calls it',
    );
  });
}

/** What is done first to each variable in workgroup memory: an assignment, or a read. */
function firstUses(code: string): Map<string, string> {
  const plain = code.replace(/\/\/.*/g, '');
  return new Map(
    [...plain.matchAll(/var<workgroup>\s*(\w+)[^;]*;/g)].map((found): [string, string] => {
      const rest = plain.slice(found.index + found[0].length);
      return [found[1] ?? '', new RegExp(`\\b${found[1]}\\b[^;]*;`).exec(rest)?.[0] ?? 'nothing'];
    }),
  );
}

const ASSIGNS = /^\w+(\[[^\]=]*\])*(\.\w+)?\s*=[^=]/;

test('workgroup memory is written before it is read: SwiftShader does not clear it', () => {
  for (const path of shaders)
    for (const [name, use] of firstUses(text(path))) assert.match(use, ASSIGNS, `${path}: ${name}`);
  const reads = 'var<workgroup> w: array<f32, 4>;\nfn main() { w[0] += 1.0; w[1] = w[0]; }';
  assert.not.match(firstUses(reads).get('w') ?? '', ASSIGNS);
});

/** What a room may import, beside itself and `src/*.ts`. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  gpu: [],
  tensor: ['gpu'],
  models: ['tensor', 'gpu', 'formats'],
  edit: ['models', 'tensor', 'gpu', 'formats'],
  lab: ['edit', 'models', 'tensor', 'gpu', 'data', 'formats'],
  data: [],
  formats: [],
  // The host's side of the engine's interfaces: it hands files in as the types that the rooms define.
  io: ['models', 'edit', 'lab', 'data', 'formats'],
};

for (const [room, allowed] of Object.entries(ROOMS)) {
  test(`src/${room} imports ${allowed.join(', ') || 'no other room'}`, () => {
    for (const path of list(`src/${room}`, '.ts')) {
      for (const [, from = ''] of text(path).matchAll(/(?:from|import)\s*\(?'([^']+)'/g)) {
        const other = /^\.\.\/(\w+)\//.exec(from)?.[1];
        const startUp = path === 'src/gpu/swiftshader.ts' && other === 'io'; // Node's way to an adapter
        assert.ok(!other || other === room || allowed.includes(other) || startUp, `${path} imports ${from}`);
      }
    }
  });
}

test('a grid that is folded is unfolded in one way: kernels are too small here for a second row of it', () => {
  const ways = ['id.y * (groups.x * WG) + id.x', 'group.y * groups.x + group.x'];
  for (const path of shaders)
    for (const line of text(path).split('\n'))
      if (line.includes('groups.x'))
        assert.ok(
          ways.some((way) => line.includes(way)),
          `${path}: ${line.trim()}`,
        );
});

test('no hook after each test: what it throws behind a test that failed ends a suite without a word', () => {
  for (const path of list('test', '.test.ts')) assert.not.match(text(path), /\.after\.each\(/, path);
});

test('no WGSL inside TypeScript', () => {
  for (const path of sources) assert.not.match(text(path), /@group\(\d\) @binding\(\d/, path);
});

test.run();
