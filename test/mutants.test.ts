/**
 * Mistakes that would change the science must fail the edit test: each mutant is made in a copy of the sources, and the
 * first fixture is run on it. That the copy passes unchanged is checked first.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'k in place of k* (r-ROME solves u from the prompt key)',
    file: 'src/edit/method.ts',
    from: "'r-rome': { u: 'mean', residual: 'mean'",
    to: "'r-rome': { u: 'prompt', residual: 'mean'",
  },
  {
    name: 'C = I',
    file: 'src/edit/covariance-solver.ts',
    from: 'const { u, residual, ridge } = await solve(s, factor, c, k);',
    to: 'const { residual, ridge } = await solve(s, factor, c, k); const u = normalise(s, k);',
  },
  {
    name: 'v0 from the mean over contexts',
    file: 'src/edit/edit.ts',
    from: 'values.prompt,\n        valueOptions',
    to: 'values.mean,\n        valueOptions',
  },
  {
    name: 'KL turned round: KL(before || now)',
    file: 'shaders/models/kl_divergence.wgsl',
    from: 'sum += exp(log_p) * (log_p - log_p0[c]);',
    to: 'sum += exp(log_p0[c]) * (log_p0[c] - log_p);',
  },
  {
    name: 'the bias counted twice in the value that the key has now',
    file: 'src/edit/edit.ts',
    from: 'value: values[row.residual],',
    to: 'value: add(s, values[row.residual], model.weights(`h.${layer}.mlp.c_proj.bias`)),',
  },
  {
    name: 'Adam without bias correction',
    file: 'src/edit/adam.ts',
    from: 'correction2: 1 - BETA2 ** (step + 1)',
    to: 'correction2: 1',
  },
];

const root = fileURLToPath(new URL('..', import.meta.url));
const test = suite('mutants');
let copy: string;

test.before(() => {
  copy = mkdtempSync(join(tmpdir(), 'palimpsest-mutants-'));
  for (const folder of ['src', 'shaders', 'test'])
    cpSync(root + folder, join(copy, folder), { recursive: true });
  for (const link of ['node_modules', 'weights', 'package.json', 'tsconfig.json'])
    symlinkSync(root + link, join(copy, link));
});

test.after(() => rmSync(copy, { recursive: true, force: true }));

/** Runs the first fixture of the edit test in the copy. */
function runEditTest(): Promise<{ passed: boolean; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/edit.test.ts'], {
      cwd: copy,
      env: { ...process.env, PALIMPSEST_FIXTURES: '0', FORCE_COLOR: '0' },
    });
    let output = '';
    child.stdout.on('data', (part) => (output += String(part)));
    child.stderr.on('data', (part) => (output += String(part)));
    child.on('close', (code) => resolve({ passed: code === 0, output }));
  });
}

test('the unchanged copy passes', async () => {
  const { passed, output } = await runEditTest();
  assert.ok(passed, output);
  assert.match(output, /Total:\s+1\n/);
});

for (const { name, file, from, to } of MUTANTS) {
  test(`fails: ${name}`, async () => {
    const path = join(copy, file);
    const original = readFileSync(path, 'utf8');
    assert.is(original.split(from).length, 2, `${file} does not hold the line to mutate exactly once`);
    let mutated = original.replace(from, () => to);
    if (to.includes('add(s,')) {
      mutated = `import { add } from '../tensor/elementwise.ts';\n${mutated}`;
    }
    writeFileSync(path, mutated);
    try {
      const { passed, output } = await runEditTest();
      assert.not.ok(passed, 'the mutant passed');
      // It must fail on a number, not because it does not run.
      assert.match(output, /relative error|off by|divisor of|cosine of|update norm of/);
    } finally {
      writeFileSync(path, original);
    }
  });
}

test.run();
