/**
 * `kill -9` of a sequence, in real processes: the resumed run's files equal those of an unbroken one, byte for byte.
 *
 * Two kills; PALIMPSEST_KILLS=10 npx tsx test/sequence-processes.test.ts makes ten.
 */
import { spawn } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { withFolder } from './folder.ts';
import { cli } from './process.ts';

const test = suite('sequence-processes');
const MAIN = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
const DATA = fileURLToPath(new URL('golden/data/counterfact.json', import.meta.url));
const KILLS = Number(process.env['PALIMPSEST_KILLS'] ?? 2);
const EDITS = Math.min(20, 3 * KILLS);

/** Few steps and contexts: what is tested is the files. */
const FLAGS = '--layer 1 --method rome --covariance identity --steps 3 --every 2 --text-tokens 12 --contexts';
const args = (folder: string, contexts: string, ...more: string[]): string[] => [
  ...['sequence', DATA, ...FLAGS.split(' '), contexts, '--count', String(EDITS), '--out', folder, ...more],
];

/** Starts a run and kills it with no warning, once its file of lines has `bytes` bytes and some ms have gone. */
async function killed(words: readonly string[], lines: string, bytes: number, ms: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...words], { stdio: 'ignore' });
  const ended = new Promise<boolean>((resolve) => {
    child.on('close', (_, signal) => resolve(signal === 'SIGKILL'));
  });
  const sized = async (): Promise<boolean> => ((await stat(lines).catch(() => undefined))?.size ?? 0) > bytes;
  while (child.exitCode === null && !(await sized())) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, ms));
  child.kill('SIGKILL');
  return ended;
}

test(`${KILLS} kills of a run of ${EDITS} edits`, async () => {
  await withFolder(async (folder) => {
    const contexts = join(folder, 'contexts.json');
    await writeFile(contexts, '["{}", "In short. {}"]');
    const [unbroken, broken] = [join(folder, 'unbroken'), join(folder, 'broken')];
    const whole = await cli(args(unbroken, contexts, '--json'));
    assert.is(whole.code, 0, whole.stderr);
    const want = await readFile(join(unbroken, 'run.jsonl'), 'utf8');
    assert.is(want.trim().split('\n').length, EDITS);

    const lines = join(broken, 'run.jsonl');
    let kills = 0;
    for (let i = 0; i < KILLS; i += 1) {
      const size = (await stat(lines).catch(() => undefined))?.size ?? 0;
      const words = args(broken, contexts, ...(size > 0 ? ['--resume'] : []));
      if (await killed(words, lines, size, (i * 137) % 250)) kills += 1;
    }
    assert.is(kills, KILLS, 'runs that were still at work when they were killed');
    const rest = await cli(args(broken, contexts, '--resume', '--json'));
    assert.is(rest.code, 0, rest.stderr);
    assert.is(await readFile(lines, 'utf8'), want);
    for (const name of ['run.vectors', 'run.json'])
      assert.equal(await readFile(join(broken, name)), await readFile(join(unbroken, name)), name);
    const [a, b] = [whole, rest].map(({ stdout }) => JSON.parse(stdout) as { result: { folder: string } });
    assert.equal({ ...a!.result, folder: '' }, { ...b!.result, folder: '' });

    // Other settings are refused, and so is a second run in the folder.
    const other = await cli(args(broken, contexts, '--resume', '--seed', '1'));
    assert.is(other.code, 2);
    assert.match(other.stderr, /begun with seed 0, but now it is 1/);
    const again = await cli(args(broken, contexts));
    assert.is(again.code, 2);
    assert.match(again.stderr, /--resume/);
    assert.is(await readFile(lines, 'utf8'), want);
  });
});

test.run();
