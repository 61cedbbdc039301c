/**
 * Runs every test file in a process of its own, so that a crash of the adapter names its file, and adds up.
 *
 *   npm test                 all files on the adapter at hand; those of kernels and method again on SwiftShader, where
 *                            the slowest run a part of their cases (they see PALIMPSEST_BRIEF)
 *   npm test -- edit matmul  files whose name contains one of the words, every case on both
 *
 * PALIMPSEST_ADAPTER restricts the run to one adapter. The closing line is `N passed, N failed`.
 */
import { execSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { openGpu } from '../src/gpu/node.ts';

/** What is built on the kernels and the method, both tested on every adapter: one adapter is enough for these. */
const ONCE = [
  'bench',
  'causal-trace-cli',
  'covariance-processes',
  'downstream',
  'evaluate',
  'facts',
  'gpt2-small',
  'kills',
  'outputs',
  'report',
  'sequel',
  'sequence',
  'styles',
  'trace',
];

/** These take longest, so they begin first: no core is idle at the end. */
const LONG = ['architectures', 'package', 'page', 'readme', 'mutants', 'report', 'edit', 'sequence'];
/** Processes at a time. Each waits for its adapter, or computes on one core, a good part of its time. */
const AT_ONCE = 2;

const TIMEOUT_MS = 10 * 60_000;
const folder = fileURLToPath(new URL('.', import.meta.url));
const words = process.argv.slice(2);
const files = readdirSync(folder)
  .filter(
    (name) => name.endsWith('.test.ts') && (words.length === 0 || words.some((word) => name.includes(word))),
  )
  .sort()
  .sort((a, b) => Number(LONG.includes(nameOf(b))) - Number(LONG.includes(nameOf(a))));

const chosen = process.env['PALIMPSEST_ADAPTER'];
const adapters = chosen ? [chosen] : await adaptersHere();
let passed = 0;
let failed = 0;

// A whole run starts the command some hundred times: built, as it is published, it starts in half the time. And the page.
if (words.length === 0) execSync('npm run --silent prepack', { stdio: 'inherit' });

const jobs = adapters.flatMap((adapter, round) =>
  files
    .filter((file) => round === 0 || runsAgain(file))
    .map((file) => ({ file, adapter, brief: round > 0 && words.length === 0 })),
);
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) await report(job);
  }),
);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

/** Kernels and the method are tested on every adapter. */
function runsAgain(file: string): boolean {
  if (ONCE.includes(nameOf(file))) return false;
  return /from '\.\/(gpu|model)\.ts'/.test(readFileSync(folder + file, 'utf8'));
}

function nameOf(file: string): string {
  return file.replace('.test.ts', '');
}

interface Job {
  readonly file: string;
  readonly adapter: string;
  readonly brief: boolean;
}

async function report({ file, adapter, brief }: Job): Promise<void> {
  const start = performance.now();
  const { code, output } = await runFile(file, adapter, brief);
  // uvu's summary; a process that died before printing it counts as one failure.
  const total = Number(/Total:\s+(\d+)/.exec(output)?.[1] ?? 0);
  const good = Number(/Passed:\s+(\d+)/.exec(output)?.[1] ?? 0);
  const bad = Math.max(total - good, code === 0 ? 0 : 1);
  passed += good;
  failed += bad;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${bad === 0 ? 'ok  ' : 'FAIL'} ${adapter.padEnd(12)} ${file.padEnd(28)} ${good} of ${Math.max(total, good + bad)}  ${seconds} s`,
  );
  if (bad > 0) console.log(output);
}

/** The adapter at hand, and SwiftShader where that is another one. */
async function adaptersHere(): Promise<string[]> {
  const names: string[] = [];
  for (const wanted of ['auto', 'swiftshader']) {
    try {
      const gpu = await openGpu(wanted);
      const name = gpu.adapter.description;
      gpu.destroy();
      console.log(`adapter: ${name}`);
      const word = name.split(/[:\s]/)[0] ?? name;
      if (!names.includes(word)) names.push(word);
    } catch (error) {
      if (wanted === 'auto') throw error;
      console.log(`without SwiftShader: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return names;
}

function runFile(
  file: string,
  adapter: string,
  brief: boolean,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', folder + file], {
      env: {
        ...process.env,
        PALIMPSEST_ADAPTER: adapter,
        PALIMPSEST_BUILT: words.length === 0 ? '1' : '',
        FORCE_COLOR: '0',
        ...(brief ? { PALIMPSEST_BRIEF: '1' } : {}),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    });
    let output = '';
    child.stdout.on('data', (part) => (output += String(part)));
    child.stderr.on('data', (part) => (output += String(part)));
    child.on('close', (code, signal) =>
      resolve({ code, output: signal ? `${output}\nended by ${signal}` : output }),
    );
  });
}
