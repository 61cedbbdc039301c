/**
 * Commands that are killed at random moments, as processes: what they leave is whole, what was finished is kept, and what
 * goes on ends with the result of an unbroken run, byte for byte.
 *
 * Here one moment of those commands that no other test kills; PALIMPSEST_KILLS=200 npx tsx test/kills.test.ts [COMMAND...]
 * is the study: as many moments of each command and signal, spread over its whole run, two processes at a time, with a
 * line that counts how they ended.
 */
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { folderOf, withFolder } from './folder.ts';
import { withHub } from './hub-server.ts';
import { FACTS, golden } from './model.ts';
import { COMMAND, cli, unsealed } from './process.ts';
import type { Ended } from './process.ts';

const test = suite('kills');
const SIGNALS = ['SIGKILL', 'SIGTERM', 'SIGHUP', 'SIGINT'] as const;
type Signal = (typeof SIGNALS)[number];
const MOMENTS = Number(process.env['PALIMPSEST_KILLS'] ?? 0);
const NAMED = process.argv.slice(2);
const SHORT = ['export', 'evaluate', 'sequence'];
const BUILT = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
/** The study starts the built program, in a third of the time. */
const PROGRAM = MOMENTS > 0 ? [BUILT] : COMMAND;
const AT_ONCE = MOMENTS > 0 ? 2 : 1;
const COUNTERFACT = golden('data/counterfact.json');
const FACT = ['The mother tongue of [Danielle Darrieux] is', 'English'];

/** What all jobs begin with: contexts, a corpus, an edit and a list with another one. */
const start = folderOf(test);

interface Job {
  /** Whether an earlier part of the run is in the folder. */
  readonly words: (begun: boolean) => readonly string[];
  /** Files that grow: at any time the beginning of what they will be. */
  readonly grows?: RegExp;
  /** Files that only an unfinished run has. */
  readonly kept?: RegExp;
  /** A folder that is there with all of its files or not at all. */
  readonly atOnce?: string;
  /** A model `x/y` is fetched from a hub on this machine. */
  readonly hub?: boolean;
  /** The result under --json belongs to what is compared. */
  readonly result?: boolean;
}

const quick = (...more: string[]): string[] => [
  ...['--layer', '1', '--covariance', 'identity', '--contexts', 'contexts.json', ...more],
];

const JOBS: Readonly<Record<string, Job>> = {
  edit: {
    words: () => [
      ...['edit', ...FACT, ...quick('--steps', '3', '--allow-miss')],
      ...['--out', 'new.st', '--dump', 'dump.st'],
    ],
  },
  apply: { words: () => ['apply', 'b.st', '--list', 'list.json'] },
  export: {
    words: () => ['export', 'model', '--edits', 'a.st'],
    atOnce: 'model',
  },
  covariance: {
    words: () => [
      ...['covariance', 'build', '--corpus', 'corpus.txt', '--save-every', '0.05'],
      ...['--out', 'C.st'],
    ],
    kept: /\.state$/,
  },
  evaluate: {
    words: () => [
      ...['evaluate', COUNTERFACT, '--count', '4', '--text-tokens', '12', '--json'],
      ...quick('--steps', '2'),
    ],
    kept: /cache.evaluate./,
    result: true,
  },
  sequence: {
    words: (begun) => [
      ...['sequence', COUNTERFACT, '--count', '5', '--every', '2', '--text-tokens', '12', '--method', 'rome'],
      ...['--held-out', 'held-out.txt'],
      ...quick('--steps', '2', '--out', 'run', ...(begun ? ['--resume'] : [])),
    ],
    grows: /run\.jsonl$|run\.vectors$/,
  },
  facts: {
    words: (begun) => [
      ...['edit', '--facts', 'six.json', '--method', 'r-rome', '--allow-miss', '--out', 'many.st'],
      ...quick('--steps', '2', ...(begun ? ['--resume'] : [])),
    ],
    kept: /^many\.st\.run/,
  },
  fetch: { words: () => ['models', 'fetch', 'x/y'], hub: true, kept: /\.incomplete$/ },
};

/** What a kill may leave, and what is kept of unfinished runs. */
const TRANSIENT = /\.tmp($|[/\\])|\.lock|^cache/;

let hub: Readonly<Record<string, string>> = {};

async function run(
  words: readonly string[],
  folder: string,
  kill?: { signal: Signal; ms: number },
): Promise<Ended> {
  let timer: NodeJS.Timeout | undefined;
  const ended = await cli(words, {
    ...{ cwd: folder, program: PROGRAM },
    env: { ...hub, PALIMPSEST_CACHE: join(folder, 'cache'), HF_HUB_CACHE: join(folder, 'hub') },
    started: (end) => {
      if (kill) timer = setTimeout(() => end(kill.signal), kill.ms);
    },
  });
  clearTimeout(timer);
  return ended;
}

type Files = ReadonlyMap<string, Buffer>;

async function filesOf(folder: string): Promise<Files> {
  const found = new Map<string, Buffer>();
  for (const name of await readdir(folder, { recursive: true }))
    if ((await stat(join(folder, name)).catch(() => undefined))?.isFile())
      found.set(name, await readFile(join(folder, name)));
  return found;
}

/** Of the result, what does not tell of time or of this run's folder; undefined where it was not told to its end. */
function resultOf({ stdout }: Ended, { result }: Job): unknown {
  if (!result || !stdout.endsWith('}\n')) return undefined;
  return (JSON.parse(stdout) as { result: unknown }).result;
}

/** Nothing half-written: every file is as before, as it will be, or one that an unfinished run keeps. */
function checkWhole(found: Files, before: Files, after: Files, job: Job, signal: Signal): void {
  for (const [name, bytes] of found) {
    const left = /\.tmp($|[/\\])|\.lock(\.[0-9a-f]+)?$|\.gone$/.test(name);
    if (left) assert.is(signal, 'SIGKILL', `${name} was left behind`);
    if (left || job.kept?.test(name)) continue;
    const whole = after.get(name);
    const isBeginning = job.grows?.test(name) && whole?.subarray(0, bytes.length).equals(bytes);
    assert.ok(
      whole?.equals(bytes) || before.get(name)?.equals(bytes) || isBeginning,
      `${name} is half-written`,
    );
  }
  const { atOnce } = job;
  if (atOnce === undefined) return;
  const inside = (files: Files): number =>
    [...files.keys()].filter((name) => name.startsWith(atOnce + sep)).length;
  assert.ok([0, inside(after)].includes(inside(found)), `${atOnce} is half-written`);
}

/** How many lines of a journal are whole. */
function linesOf(files: Files): number {
  const journal = [...files].find(([name]) => name.endsWith('run.jsonl'))?.[1];
  return journal ? journal.toString().split('\n').length - 1 : 0;
}

/** A file that is not as in the other folder, or is in one alone; what is kept of unfinished runs aside. */
function differing(found: Files, wanted: Files): string | undefined {
  return [...new Set([...found.keys(), ...wanted.keys()])].find(
    (name) => !TRANSIENT.test(name) && !wanted.get(name)?.equals(found.get(name) ?? Buffer.of(0, 1)),
  );
}

interface Ends {
  stopped: number;
  finished: number;
  early: number;
  folders: number;
}

/** Kills one run after another at so many moments, and lets each that was killed finish in the end. */
async function study(name: string, moments: number, signal: Signal): Promise<string> {
  const job = JOBS[name]!;
  const ends: Ends = { stopped: 0, finished: 0, early: 0, folders: 0 };
  await withFolder(async (place) => {
    const whole = join(place, 'whole');
    await cp(start, whole, { recursive: true });
    const before = await filesOf(whole);
    // As many at once as are killed at once, so that moments reach to the end of a run: that is where files come to be.
    const begin = performance.now();
    const [unbroken] = await Promise.all(
      Array.from({ length: AT_ONCE }, async (_, i) => {
        const folder = i === 0 ? whole : join(place, `whole-${i}`);
        if (i > 0) await cp(start, folder, { recursive: true });
        return run(job.words(false), folder);
      }),
    );
    const ms = 1.05 * (performance.now() - begin);
    assert.is(unbroken?.code, 0, unbroken?.stderr);
    const after = await filesOf(whole);
    // One moment in each of as many equal parts of the run, the parts in any order.
    const when = Array.from({ length: moments }, (_, i) => ((i + Math.random()) / moments) * ms).sort(
      () => Math.random() - 0.5,
    );
    const worker = async (): Promise<void> => {
      let folder = '';
      let lines = 0;
      while (when.length > 0 || folder !== '') {
        if (folder === '') {
          folder = join(place, String((ends.folders += 1)));
          await cp(start, folder, { recursive: true });
          lines = 0;
        }
        const begun = [...(await filesOf(folder)).keys()].some((file) => file.endsWith('run.json'));
        const moment = when.pop();
        const kill = moment === undefined ? undefined : { signal, ms: moment };
        const ended = await run(job.words(begun), folder, kill);
        const found = await filesOf(folder);
        const told = `${name}, ${signal} after ${kill?.ms.toFixed(0)} of ${ms.toFixed(0)} ms: ${ended.code} ${ended.signal}: ${ended.stderr}`;
        // Killed after its last file was in its place, or its result told, it is finished, too: the same command again
        // would be another one.
        const isWhole = job.result
          ? resultOf(ended, job) !== undefined
          : differing(found, after) === undefined;
        if (ended.code === 0 || (job.result && isWhole)) {
          assert.is(differing(found, after), undefined, told);
          assert.equal(resultOf(ended, job), resultOf(unbroken!, job), told);
        }
        if (ended.code === 0 || isWhole) {
          ends.finished += 1;
          await rm(folder, { recursive: true });
          folder = '';
          continue;
        }
        // Before the handlers stand, Node ends at once; nothing has been done then.
        const early = signal !== 'SIGKILL' && ended.signal === signal && !ended.stderr.includes('palimpsest');
        assert.ok(early || (signal === 'SIGKILL' ? ended.signal === signal : ended.code === 130), told);
        ends[early ? 'early' : 'stopped'] += 1;
        checkWhole(found, before, after, job, signal);
        assert.ok(linesOf(found) >= lines, `steps that were finished are lost: ${told}`);
        lines = linesOf(found);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  });
  return `${name.padEnd(10)} ${signal.padEnd(7)} ${ends.stopped} stopped, ${ends.early} before it began, ${ends.finished} finished and equal`;
}

/** Runs `use` while a hub on this machine has the bundled model under the name `x/y`. */
async function withFacts(use: () => Promise<string>): Promise<string> {
  let line = '';
  await withHub(join(start, 'unused'), async (fake) => {
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors'])
      fake.files[name] = await readFile(join(FACTS, name));
    hub = fake.env;
    line = await use();
  });
  return line;
}

test.before(async () => {
  if (MOMENTS > 0) execFileSync('npm', ['run', '-s', 'build'], { cwd: dirname(dirname(dirname(BUILT))) });
  await writeFile(join(start, 'contexts.json'), '["{}", "In short. {}"]');
  const records = JSON.parse(await readFile(COUNTERFACT, 'utf8')) as { neighborhood_prompts: string[] }[];
  const texts = records.flatMap((record) => record.neighborhood_prompts);
  await writeFile(join(start, 'six.json'), JSON.stringify(records.slice(0, 6)));
  await writeFile(join(start, 'held-out.txt'), texts.slice(0, 20).join('\n'));
  await writeFile(join(start, 'corpus.txt'), Array.from({ length: 8 }, () => texts.join('\n')).join('\n'));
  await mkdir(join(start, 'cache'));
  const made = await run(['edit', ...FACT, ...quick('--steps', '2', '--allow-miss', '--out', 'a.st')], start);
  assert.is(made.code, 0, made.stderr);
  const bytes = unsealed(await readFile(join(start, 'a.st')));
  await writeFile(join(start, 'b.st'), bytes.replaceAll('English', 'Germans'), 'latin1');
  const listed = await run(['apply', 'a.st', '--list', 'list.json', '--no-check'], start);
  assert.is(listed.code, 0, listed.stderr);
});

for (const [i, name] of Object.keys(JOBS).entries()) {
  if (!(NAMED.length > 0 ? NAMED : MOMENTS > 0 ? Object.keys(JOBS) : SHORT).includes(name)) continue;
  const signals = MOMENTS > 0 ? SIGNALS : [SIGNALS[i % SIGNALS.length]!];
  for (const signal of signals)
    test(`${name}, ${signal}`, async () => {
      const work = (): Promise<string> => study(name, Math.max(1, MOMENTS), signal);
      const line = await (JOBS[name]?.hub ? withFacts(work) : work());
      if (MOMENTS > 0) console.log(`\n${line}`);
    });
}

test.run();
