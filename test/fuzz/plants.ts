/**
 * Shows that the harness finds faults: plants five in a copy of the program, one a door, and hunts for them.
 *
 *   npm run fuzz:plants -- [--minutes 10] [--seed S]
 *
 * Says of each the run that it was found in: a busy machine does fewer of them. Exit code 0 when all five are found.
 */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

interface Plant {
  readonly door: string;
  readonly file: string;
  /** A piece of the file that stands there once, and what takes its place. */
  readonly was: string;
  readonly is: string;
  /** A line of the harness that tells of it. */
  readonly sign: RegExp;
}

const PLANTS: readonly Plant[] = [
  {
    door: 'outputs: an output may be an input',
    file: 'cli/files.ts',
    was: 'function refuseSame(output: Named, input: Named): void {\n',
    is: 'function refuseSame(output: Named, input: Named): void {\n  if (output.flag !== input.flag) return;\n',
    sign: /(changed|removed): /,
  },
  {
    door: 'terminal: C1 controls pass',
    file: 'src/printable.ts',
    was: '\\\\x7f-\\\\x9f',
    is: '\\\\x7f',
    sign: /std(out|err) has /,
  },
  {
    door: 'network: a hash of any form names a file',
    file: 'src/io/hub-api.ts',
    was: 'v.regex(/^[0-9a-f]{40}$/)',
    is: 'v.regex(/./)',
    sign: /# fetch.*(made|left behind|fetched although)/,
  },
  {
    door: 'structure: JSON of any depth',
    file: 'src/json.ts',
    was: 'const DEPTH = 64;',
    is: 'const DEPTH = 1e9;',
    sign: /RangeError: Maximum call stack|call stack size|levels of brackets were taken/,
  },
  {
    door: "journals: a run's head is believed",
    file: 'src/io/journal.ts',
    was: '  const found = v.safeParse(schema, json);',
    is: "  if (what === 'a head') return json as T;\n  const found = v.safeParse(schema, json);",
    sign: /# (sequence|evaluate|edit).*(TypeError|This is a bug)/,
  },
];

const root = fileURLToPath(new URL('../../', import.meta.url));
const COPIED = [
  'src',
  'cli',
  'test',
  'shaders',
  'data',
  'weights',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
];

const copy = mkdtempSync(join(tmpdir(), 'palimpsest-plants-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(130));
for (const name of COPIED) cpSync(join(root, name), join(copy, name), { recursive: true });
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
mkdirSync(join(copy, '.cache'));
for (const { file, was, is, door } of PLANTS) {
  const text = readFileSync(join(copy, file), 'utf8');
  if (text.split(was).length !== 2)
    throw new Error(`plants: ${door}: expected ${was} once in ${file}. Mend the plant.`);
  writeFileSync(
    join(copy, file),
    text.replace(was, () => is),
  );
}

const words = process.argv.slice(2);
const good = existsSync(join(root, '.cache/fuzz')) ? readdirSync(join(root, '.cache/fuzz'))[0] : undefined;
const given = [
  ...(words.includes('--minutes') ? [] : ['--minutes', '10']),
  ...(good === undefined ? [] : ['--seeds', join(root, '.cache/fuzz', good)]),
  ...words,
];
const child = spawn(process.execPath, ['--import', 'tsx', 'test/fuzz/index.ts', ...given], {
  cwd: copy,
  stdio: ['ignore', 'pipe', 'inherit'],
});
process.on('exit', () => child.kill());
const missing = new Set(PLANTS);
let start: number | undefined;
for await (const line of createInterface({ input: child.stdout })) {
  start ??= performance.now();
  for (const plant of missing) {
    if (!plant.sign.test(line)) continue;
    missing.delete(plant);
    const run = /--run (\d+)/.exec(line)?.[1];
    console.log(
      `found after ${((performance.now() - start) / 1000).toFixed(0)} s, in run ${run}: ${plant.door}\n  ${line.slice(0, 300)}`,
    );
  }
  if (missing.size === 0) child.kill('SIGTERM');
}
for (const { door } of missing) console.log(`not found: ${door}`);
process.exitCode = missing.size === 0 ? 0 : 1;
