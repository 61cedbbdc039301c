/**
 * Mistakes that would change the science, an index or a check must fail a test: each mutant is made in a copy of the
 * sources, and the one test that has to notice is run on it. That this test passes on the unchanged copy comes first.
 *
 *   node --import tsx test/mutants.test.ts WORD...          those whose name or file contains one of the words
 *   node --import tsx test/mutants.test.ts faults [N:...] guards of `mutants/faults.ts`, by group; the suite runs none
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FAULTS } from './mutants/faults.ts';
import { MUTANTS } from './mutants/list.ts';
import type { Mutant } from './mutants/list.ts';
import { mutate } from './mutants/mutate.ts';

/** Processes at a time; each has a copy of its own. */
const WORKERS = 2;
/** A mutant must fail on a number, not because it is no program. */
const NO_PROGRAM = /SyntaxError|ReferenceError|TypeError|Cannot find module|error: |Total: +0/;

/** Without a guard a test may well end with such an error, or not at all. */
const NOT_RUN = /Cannot find module|Total: +0/;
const FAULT_MS = 120_000;

interface Ended {
  readonly passed: boolean;
  readonly output: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const test = suite('mutants');
const copies = Array.from({ length: WORKERS }, makeCopy);

function makeCopy(): string {
  const copy = mkdtempSync(join(tmpdir(), 'palimpsest-mutants-'));
  for (const folder of ['src', 'cli', 'shaders', 'test'])
    cpSync(root + folder, join(copy, folder), { recursive: true });
  for (const link of ['node_modules', 'weights', 'data', 'package.json', 'tsconfig.json'])
    symlinkSync(root + link, join(copy, link));
  // Every suite runs only the tests that the environment names.
  for (const file of readdirSync(join(copy, 'test')).filter((name) => name.endsWith('.test.ts'))) {
    const path = join(copy, 'test', file);
    const text = readFileSync(path, 'utf8');
    if (!/= .*\bsuite\(/.test(text)) continue;
    const filtered = text.replace(/= (.*\bsuite\(.*\));$/gm, '= chosen($1);');
    writeFileSync(path, `import { chosen } from './mutants/chosen.ts';\n${filtered}`);
  }
  return copy;
}

test.after(() => copies.forEach((copy) => rmSync(copy, { recursive: true, force: true })));

/** Runs one test file in a copy. */
function run(copy: string, name: string, only: RegExp | undefined): Promise<Ended> {
  return new Promise((resolve) => {
    // From its sources: what is built is not mutated.
    const env = {
      ...process.env,
      FORCE_COLOR: '0',
      PALIMPSEST_BUILT: '',
      PALIMPSEST_ONLY: only?.source ?? '',
    };
    const child = spawn(process.execPath, ['--import', 'tsx', `test/${name}.test.ts`], { cwd: copy, env });
    let output = '';
    const timer = setTimeout(() => {
      if (!faults) return;
      output += `ended after ${FAULT_MS / 1000} s`;
      child.kill('SIGKILL');
    }, FAULT_MS);
    child.stdout.on('data', (part) => (output += String(part)));
    child.stderr.on('data', (part) => (output += String(part)));
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ passed: code === 0, output });
    });
  });
}

async function runMutant(copy: string, mutant: Mutant): Promise<Ended> {
  const path = join(copy, mutant.file);
  const original = readFileSync(path, 'utf8');
  writeFileSync(path, mutate(mutant.file, original, mutant));
  try {
    return await run(copy, mutant.test, mutant.only);
  } finally {
    writeFileSync(path, original);
  }
}

const faults = process.argv[2] === 'faults';
const words = process.argv.slice(faults ? 3 : 2);
const mutants = (faults ? FAULTS : MUTANTS).filter(
  ({ name, file }) =>
    words.length === 0 ||
    words.some((word) => (faults ? name.startsWith(word) : name.includes(word) || file.includes(word))),
);

/** Work that waits: each copy takes the next piece when it is done with one. */
const queue: ((copy: string) => Promise<void>)[] = [];
function later<T>(work: (copy: string) => Promise<T>): Promise<T> {
  const done = new Promise<T>(
    (resolve, reject) => void queue.push((copy) => work(copy).then(resolve, reject)),
  );
  done.catch(() => undefined); // told by the test that waits for it
  return done;
}

/** Every file once, with all of its tests that a mutant names. */
const unchanged = new Map<string, Promise<Ended>>();
for (const file of new Set(mutants.map(({ test: name }) => name))) {
  const named = mutants.filter(({ test: name }) => name === file).map(({ only }) => only?.source ?? '');
  unchanged.set(
    file,
    later((copy) => run(copy, file, new RegExp(named.join('|')))),
  );
}
const mutated = mutants.map((mutant) => later((copy) => runMutant(copy, mutant)));

test.before(() => {
  for (const copy of copies)
    void (async () => {
      for (let work = queue.shift(); work; work = queue.shift()) await work(copy);
    })();
});

for (const [file, ended] of unchanged) {
  test(`passes unchanged: ${file}`, async () => {
    const { passed, output } = await ended;
    assert.ok(passed, output);
    assert.not.match(output, /Total: +0/);
  });
}

mutants.forEach(({ name, test: file }, i) => {
  test(`${file} fails: ${name}`, async () => {
    const { passed, output } = await (mutated[i] as Promise<Ended>);
    if (faults) console.log(`${passed ? 'PASSES' : 'fails'}  ${name}`);
    assert.not.ok(passed, 'the mutant passed');
    assert.not.match(output, faults ? NOT_RUN : NO_PROGRAM);
    assert.match(output, faults ? /FAIL|ended after/ : /FAIL/);
  });
});

test('every guard of the faults stands where it is said to stand, and its test is there', () => {
  for (const fault of FAULTS) {
    mutate(fault.file, readFileSync(root + fault.file, 'utf8'), fault);
    const text = readFileSync(`${root}test/${fault.test}.test.ts`, 'utf8');
    const names = [...text.matchAll(/test\(\s*(['"`])(.*?)\1,/g)].map(([, , name]) => name ?? '');
    assert.ok(
      names.some((name) => name.startsWith('${') || fault.only?.test(name)),
      `${fault.name}: no such test in ${fault.test}`,
    );
  }
});

test.run();
